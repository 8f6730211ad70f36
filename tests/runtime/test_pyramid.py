"""The pyramid network: that engines agree on it, and what holds of it whatever its weights are."""

from __future__ import annotations

import numpy as np
import pytest

from defusion.errors import EngineError, WeightsError
from defusion.model import regions
from defusion.model.blocks import WIDTH
from defusion.model.decisions import Coarser
from defusion.model.pyramid import levels_of
from defusion.runtime import Engine, Planes, load_engine
from defusion.runtime.engine import Decided
from defusion.weights import WeightsFile, save

pytest.importorskip("torch", reason="it is the other engine")


@pytest.fixture(scope="module")
def vino(pyramid_weights: WeightsFile) -> Engine:
    return load_engine(pyramid_weights)


@pytest.fixture(scope="module")
def torch_engine(pyramid_weights: WeightsFile) -> Engine:
    return load_engine(pyramid_weights, engine="torch")


def sources(count: int, height: int = 48, width: int = 64, channels: int = 3, seed: int = 0) -> Planes:
    return np.random.default_rng(seed).random((count, channels, height, width), np.float32)


def coarser(count: int, levels: int, parts: bool) -> Coarser:
    """What is known of a scene of 48x64 at the size of the base."""
    height, width = 48 >> levels, 64 >> levels
    before = [sources(each, height, width, seed=7) for each in ((1, count) if parts else (1,))]
    by_mask = sources(1, height, width, 1, seed=8)
    return Coarser(sources(count, height, width, WIDTH, seed=6), tuple(before), by_mask)


def planes_of(decided: Decided) -> list[Planes]:
    """All that was decided."""
    found = [
        *decided.made,
        *decided.before,
        decided.state,
        decided.one_light,
        decided.weight,
        decided.by_mask,
        decided.trusted,
    ]
    return [each for each in found if each is not None]


@pytest.mark.parametrize(
    ("count", "with_confidence", "goes_on", "closely", "parts"),
    [
        (1, False, False, True, False),
        (2, False, False, True, True),
        (2, True, False, True, False),
        (3, True, False, False, True),
        (2, False, True, True, False),
        (4, True, True, False, False),
        (3, True, True, True, True),
        (2, False, True, False, True),
    ],
)
def test_engines_agree(
    vino: Engine,
    torch_engine: Engine,
    count: int,
    with_confidence: bool,
    goes_on: bool,
    closely: bool,
    parts: bool,
) -> None:
    confidence = np.clip(2 * sources(count, channels=1, seed=5) - 0.5, 0, 1) if with_confidence else None
    known = coarser(count, 3, parts) if goes_on else None
    made, expected = (
        engine.decide(sources(count), confidence, 3, coarser=known, closely=closely, parts=parts)
        for engine in (vino, torch_engine)
    )
    assert (made.by_mask is None) == (made.trusted is None) == (not closely)
    for found, other in zip(planes_of(made), planes_of(expected), strict=True):
        assert found.shape == other.shape
        assert found.dtype == other.dtype == np.float32
        np.testing.assert_allclose(found, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("closely", [False, True])
def test_a_part_is_decided_as_in_the_whole(
    vino: Engine, torch_engine: Engine, closely: bool, parts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, confidence = sources(2, 96, 160), np.clip(2 * sources(2, 96, 160, 1, seed=5), 0, 1)
    before = [sources(each, 12, 20, seed=7) for each in ((1, 2) if parts else (1,))]
    known = Coarser(sources(2, 12, 20, WIDTH, seed=6), tuple(before), sources(1, 12, 20, 1, seed=8))
    core = (slice(32, 64), slice(64, 160))

    def apart(engine: Engine) -> float:
        whole, part = (
            engine.decide(given, confidence, 3, coarser=known, closely=closely, parts=parts, core=each)
            for each in (None, core)
        )
        off = 0.0
        for found, expected in zip(planes_of(part), planes_of(whole), strict=True):
            step = 96 // expected.shape[2]
            rows, columns = (slice(each.start // step, each.stop // step) for each in core)
            off = max(off, float(np.abs(found - expected[..., rows, columns]).max()))
        return off

    assert apart(vino) < 1e-5
    assert apart(torch_engine) < 1e-5
    monkeypatch.setattr(regions, "NEAR_PX", 8)
    assert apart(vino) > 1e-3


@pytest.mark.parametrize("parts", [False, True])
def test_a_graph_from_the_cache_is_the_graph(pyramid_weights: WeightsFile, parts: bool) -> None:
    once, again = (
        load_engine(pyramid_weights).decide(sources(2), None, 3, coarser=coarser(2, 3, parts), parts=parts)
        for _ in range(2)
    )
    for found, other in zip(planes_of(once), planes_of(again), strict=True):
        assert np.array_equal(found, other)


def test_one_graph_serves_every_size_and_number_of_sources(vino: Engine, torch_engine: Engine) -> None:
    for count, height, width in [(2, 16, 24), (5, 40, 8), (1, 8, 8), (2, 16, 24), (3, 80, 56)]:
        given = sources(count, height, width)
        made, expected = (engine.decide(given, None, 3).made[0] for engine in (vino, torch_engine))
        assert made.shape == (1, 3, height, width)
        np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-4)


def test_the_order_of_sources_does_not_matter(vino: Engine) -> None:
    given, confidence = sources(4), sources(4, channels=1, seed=5)
    order = [2, 0, 3, 1]
    one = vino.decide(given, confidence, 3, parts=True)
    other = vino.decide(given[order], confidence[order], 3, parts=True)
    np.testing.assert_allclose(one.made[0], other.made[0], atol=1e-5)
    np.testing.assert_allclose(one.made[1][order], other.made[1], atol=1e-5)
    np.testing.assert_allclose(one.weight[order], other.weight, atol=1e-5)


@pytest.mark.parametrize("closely", [True, False])
def test_parts_add_up_to_the_picture(vino: Engine, closely: bool) -> None:
    given = sources(3)
    (fused,) = vino.decide(given, None, 3, closely=closely).made
    common, uniques = vino.decide(given, None, 3, closely=closely, parts=True).made
    assert uniques.shape == (3, 3, 48, 64)
    np.testing.assert_allclose(common + uniques.sum(0, keepdims=True), fused, atol=1e-5)


def test_weights_of_sources_sum_to_one_and_none_is_on_what_is_not_there(vino: Engine) -> None:
    confidence = np.ones((3, 1, 48, 64), np.float32)
    confidence[1, :, 10:30, 10:40] = 0
    decided = vino.decide(sources(3), confidence, 3)
    np.testing.assert_allclose(decided.weight.sum(0), 1, atol=1e-5)
    assert decided.trusted is not None
    assert decided.weight[1, :, 10:30, 10:40].max() < 1e-4
    assert decided.trusted[1, :, 10:30, 10:40].max() == 0


def test_equal_sources_weigh_the_same(vino: Engine) -> None:
    decided = vino.decide(np.repeat(sources(1), 3, 0), None, 3)
    np.testing.assert_allclose(decided.weight, 1 / 3, atol=1e-5)


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_sources_are_left_as_they_are_and_results_stay(engine: str, pyramid_weights: WeightsFile) -> None:
    loaded, given = load_engine(pyramid_weights, engine=engine), sources(2)
    before = given.copy()
    first = loaded.decide(given, None, 3)
    kept = [each.copy() for each in planes_of(first)]
    loaded.decide(sources(2, seed=9), None, 3)
    assert np.array_equal(given, before)
    assert all(np.array_equal(each, copy) for each, copy in zip(planes_of(first), kept, strict=True))


def test_colour_has_a_gain_of_its_own(pyramid_weights: WeightsFile, tmp_path_factory) -> None:
    tensors = pyramid_weights.tensors()
    for head in ("level", "fine"):
        tensors[f"{head}.scene.weight"][1], tensors[f"{head}.scene.bias"][1] = 0, 9.0  # exp(-81)
    path = tmp_path_factory.mktemp("weights") / "grey_detail.safetensors"
    save(path, tensors, pyramid_weights.config, {})
    as_shipped, grey_detail = (
        load_engine(file, engine="openvino").decide(sources(2), None, 3).made[0]
        for file in (pyramid_weights, WeightsFile.open(path))
    )
    of_light, of_grey_detail = as_shipped.mean(1), grey_detail.mean(1)
    np.testing.assert_allclose(of_light, of_grey_detail, atol=1e-5)
    steps = [np.abs(np.diff(each - each.mean(1, keepdims=True))).mean() for each in (as_shipped, grey_detail)]
    assert steps[1] < 0.2 * steps[0]  # what is left is the base's colour, which is smooth


def test_colour_of_the_base_has_weights_of_its_own(pyramid_weights: WeightsFile, tmp_path_factory) -> None:
    tensors = pyramid_weights.tensors()
    tensors["base.source.weight"][4], tensors["base.source.bias"][4] = 10.0, 0.0
    path = tmp_path_factory.mktemp("weights") / "other_colour.safetensors"
    save(path, tensors, pyramid_weights.config, {})
    red_and_blue = sources(2) * np.array([[1, 0.5, 0.2], [0.2, 0.5, 1]], np.float32)[:, :, None, None]
    as_shipped, other_colour = (
        load_engine(file, engine="openvino").decide(red_and_blue, None, 3).made[0]
        for file in (pyramid_weights, WeightsFile.open(path))
    )
    np.testing.assert_allclose(as_shipped.mean(1), other_colour.mean(1), atol=1e-5)
    assert np.abs(as_shipped - other_colour).mean() > 0.005


def test_bfloat16_is_close_to_float32(pyramid_weights: WeightsFile, torch_engine: Engine) -> None:
    low = load_engine(pyramid_weights, engine="torch", precision="bfloat16").decide(sources(2), None, 3).made[0]
    full = torch_engine.decide(sources(2), None, 3).made[0]
    assert 0 < np.abs(low - full).max() < 0.1


@pytest.mark.parametrize("engine", ["openvino", "torch"])
@pytest.mark.parametrize("changed", ["embed.weight", "fine.scene.bias"])
def test_tensors_of_another_version_are_refused(
    engine: str, changed: str, pyramid_weights: WeightsFile, tmp_path_factory
) -> None:
    tensors = pyramid_weights.tensors()
    tensors[changed] = tensors[changed][:-1]
    path = tmp_path_factory.mktemp("weights") / "other.safetensors"
    file = save(path, tensors, pyramid_weights.config, {})
    with pytest.raises((WeightsError, EngineError), match="not those of the pyramid network of this version"):
        load_engine(file, engine=engine)


@pytest.mark.parametrize(("size", "expected"), [((1, 1), 2), ((17, 400), 2), ((46, 400), 3), ((256, 300), 5)])
def test_levels_end_where_the_shorter_side_is_about_eight_pixels(size: tuple[int, int], expected: int) -> None:
    assert levels_of(*size) == expected
