"""Learned metrics with networks of random weights in the official files' form."""

import numpy as np
import pytest
from skimage import data

from defusion.evaluation.metrics import learned, score

STAGES = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}


@pytest.fixture(scope="module")
def photos():
    cat = np.ascontiguousarray(data.chelsea()[60:124, 100:180])
    noise = np.random.default_rng(0).normal(0, 20, cat.shape)
    return cat, cat // 2, np.clip(cat + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch = pytest.importorskip("torch", reason="learned metrics run in torch")
    folder = tmp_path_factory.mktemp("metric_weights")
    rng = torch.Generator().manual_seed(0)
    trunk = {}
    for index, (out, into, side) in STAGES.items():
        shape = (out, into, side, side)
        trunk[f"features.{index}.weight"] = torch.randn(shape, generator=rng) * (2 / (into * side * side)) ** 0.5
        trunk[f"features.{index}.bias"] = torch.zeros(out)
    torch.save(trunk, folder / learned.ALEXNET)
    widths = [out for out, _, _ in STAGES.values()]
    linear = {f"lin{k}.model.1.weight": torch.rand((1, n, 1, 1), generator=rng) for k, n in enumerate(widths)}
    torch.save(linear, folder / learned.LPIPS_LINEAR)
    torch.save(thin_inception(torch, rng), folder / learned.INCEPTION)
    return folder


def thin_inception(torch, rng):
    """Inception v3 with its blocks and windows, four channels a convolution, five classes."""
    weights = {}

    def conv(name, into, height, width):
        shape = (4, into, height, width)
        weights[f"{name}.conv.weight"] = torch.randn(shape, generator=rng) * (1.5 / (into * height * width)) ** 0.5
        for part, number in {"weight": 1.0, "bias": 0.1, "running_mean": 0.0, "running_var": 1.0}.items():
            weights[f"{name}.bn.{part}"] = torch.full((4,), number)

    def branch(name, into, *windows):
        for part, (height, width) in windows:
            conv(f"{name}{part}", into, height, width)
            into = 4

    stem = {"Conv2d_1a_3x3": 3, "Conv2d_2a_3x3": 3, "Conv2d_2b_3x3": 3, "Conv2d_3b_1x1": 1, "Conv2d_4a_3x3": 3}
    for count, (name, side) in enumerate(stem.items()):
        conv(name, 4 if count else 3, side, side)
    one, three, row, column = (1, 1), (3, 3), (1, 7), (7, 1)
    into = 4
    for block in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        branch(f"{block}.branch5x5", into, ("_1", one), ("_2", (5, 5)))
        branch(f"{block}.branch3x3dbl", into, ("_1", one), ("_2", three), ("_3", three))
        for name in ("branch1x1", "branch_pool"):
            conv(f"{block}.{name}", into, 1, 1)
        into = 16
    branch("Mixed_6a.branch3x3", into, ("", three))
    branch("Mixed_6a.branch3x3dbl", into, ("_1", one), ("_2", three), ("_3", three))
    into = 24
    for block in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        branch(f"{block}.branch7x7", into, ("_1", one), ("_2", row), ("_3", column))
        windows = (one, column, row, column, row)
        branch(f"{block}.branch7x7dbl", into, *((f"_{k + 1}", window) for k, window in enumerate(windows)))
        for name in ("branch1x1", "branch_pool"):
            conv(f"{block}.{name}", into, 1, 1)
        into = 16
    branch("Mixed_7a.branch3x3", into, ("_1", one), ("_2", three))
    branch("Mixed_7a.branch7x7x3", into, ("_1", one), ("_2", row), ("_3", column), ("_4", three))
    into = 24
    for block in ("Mixed_7b", "Mixed_7c"):
        branch(f"{block}.branch3x3", into, ("_1", one))
        branch(f"{block}.branch3x3dbl", into, ("_1", one), ("_2", three))
        for name, side in (("a", (1, 3)), ("b", (3, 1))):
            conv(f"{block}.branch3x3_2{name}", 4, *side)
            conv(f"{block}.branch3x3dbl_3{name}", 4, *side)
        for name in ("branch1x1", "branch_pool"):
            conv(f"{block}.{name}", into, 1, 1)
        into = 24
    weights["fc.weight"] = torch.randn((5, into), generator=rng)
    weights["fc.bias"] = torch.zeros(5)
    return weights


@pytest.fixture
def with_weights(monkeypatch, folder):
    monkeypatch.setenv(learned.FOLDER_VARIABLE, str(folder))


def value(name, a, b, fused):
    return score(a, b, fused, names=[name])[name].value


def test_without_weights_the_reason_says_what_is_missing(monkeypatch, photos, tmp_path):
    monkeypatch.delenv(learned.FOLDER_VARIABLE, raising=False)
    assert learned.FOLDER_VARIABLE in score(*photos, names=["lpips"])["lpips"].reason
    monkeypatch.setenv(learned.FOLDER_VARIABLE, str(tmp_path))
    assert learned.INCEPTION in score(*photos, names=["is"])["is"].reason


@pytest.mark.usefixtures("with_weights")
def test_perceptual_distance_is_a_distance(photos):
    cat, dark, noisy = photos
    assert value("lpips", cat, cat, cat) == 0
    assert value("lpips", cat, dark, noisy) == pytest.approx(value("lpips", dark, cat, noisy), rel=1e-5)
    assert value("lpips", cat, cat, noisy) == pytest.approx(value("lpips", noisy, noisy, cat), rel=1e-5)
    softly = (cat.astype(int) * 3 + noisy) // 4
    assert 0 < value("lpips", cat, cat, softly.astype(np.uint8)) < value("lpips", cat, cat, noisy)


@pytest.mark.usefixtures("with_weights")
def test_grey_pictures_are_taken_as_rgb(photos):
    greys = [picture[..., 1] for picture in photos]
    assert value("lpips", *greys) == value("lpips", *(np.dstack([grey] * 3) for grey in greys))


@pytest.mark.usefixtures("with_weights")
def test_tiles_that_look_the_same_score_1(photos):
    flat = np.full_like(photos[0], 90)
    assert value("is", flat, flat, flat) == pytest.approx(1, abs=1e-7)
    assert 1 + 1e-6 < value("is", *photos) < 9


@pytest.mark.usefixtures("with_weights")
def test_a_picture_too_small_for_the_network_is_told(photos):
    found = score(*(picture[:20] for picture in photos), names=["lpips"])["lpips"]
    assert "31 pixels" in found.reason


def test_weights_of_another_network_are_told(monkeypatch, photos, folder, tmp_path):
    (tmp_path / learned.ALEXNET).write_bytes((folder / learned.INCEPTION).read_bytes())
    (tmp_path / learned.LPIPS_LINEAR).write_bytes((folder / learned.LPIPS_LINEAR).read_bytes())
    (tmp_path / learned.INCEPTION).write_bytes(b"no weights at all")
    monkeypatch.setenv(learned.FOLDER_VARIABLE, str(tmp_path))
    found = score(*photos, names=["lpips", "is"])
    assert "another network" in found["lpips"].reason
    assert "cannot be read" in found["is"].reason


def test_the_score_of_shares():
    assert learned.inception_score(np.full((4, 10), 0.1, np.float32)) == pytest.approx(1)
    assert learned.inception_score(np.eye(6, dtype=np.float32)) == pytest.approx(6)


@pytest.mark.usefixtures("with_weights")
def test_a_set_is_scored_as_one(photos):
    cat, *_ = photos
    same = learned.set_inception_score(iter([cat, cat, cat]))
    assert same.value == pytest.approx(1, abs=1e-6)
    others = [cat, cat[..., 1], 255 - cat, np.full_like(cat, 200), np.roll(cat, 1, axis=2)]
    found = learned.set_inception_score(others)
    assert 1 + 1e-6 < found.value < 5
    assert learned.set_inception_score(reversed(others)).value == pytest.approx(found.value)
    assert "two pictures" in learned.set_inception_score([cat]).reason


def test_a_set_without_weights_says_so(monkeypatch, photos):
    monkeypatch.delenv(learned.FOLDER_VARIABLE, raising=False)
    assert learned.FOLDER_VARIABLE in learned.set_inception_score(photos).reason
