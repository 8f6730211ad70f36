"""Toy cases and embeddings: what the sources are by construction, that numbers are those of the arrays, figures."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from skimage import data
from typer.testing import CliRunner

from defusion import Fuser, Options
from defusion.cli import app
from defusion.errors import DefusionError, EvaluationError, ImageError
from defusion.evaluation.explain import cases as toy_cases
from defusion.evaluation.explain import embeddings, toys
from defusion.evaluation.explain.cases import Pixels
from defusion.evaluation.explain.embeddings import ActivationMaps, Pair
from defusion.evaluation.explain.figures import pair_figure, save, toy_figure
from defusion.evaluation.explain.toys import Toy
from defusion.imaging import Picture
from defusion.scene.frame import Frame

CASES = ["grid_noise", "freeform_noise", "grid_zeros", "two_noises", "one_noise"]


def grey(height: int, width: int, value: float = 0.5) -> Pixels:
    return np.full((height, width, 3), value, np.float32)


def frames(*sources: NDArray[np.uint8]) -> list[Frame]:
    return [Frame.of(f"source {number}", Picture(source)) for number, source in enumerate(sources, 1)]


def decibels(found: Pixels, expected: Pixels) -> float:
    return -20 * float(np.log10(np.sqrt(np.mean((found.astype(float) - expected) ** 2))))


@pytest.fixture(scope="module")
def scene() -> Pixels:
    return Picture(np.ascontiguousarray(data.chelsea()[60:156, 100:228])).pixels


@pytest.fixture(scope="module")
def paper() -> Fuser:
    return Fuser(weights="paper", precision="float32")


@pytest.fixture(scope="module")
def pyramid() -> Fuser:
    return Fuser(align="off")


@pytest.fixture(scope="module")
def toy(paper: Fuser, pyramid: Fuser, scene: Pixels) -> Toy:
    return toys.toy(paper, pyramid, scene)


@pytest.fixture(scope="module")
def focus_pair() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A photograph whose right half, then its left half, is out of focus."""
    sharp = np.ascontiguousarray(data.astronaut()[300:396, 140:268])
    soft = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(3)))
    left = (np.arange(128) < 64)[None, :, None]
    return np.where(left, sharp, soft), np.where(left, soft, sharp)


@pytest.fixture(scope="module")
def pair(paper: Fuser, focus_pair: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> Pair:
    return embeddings.pair(paper, frames(*focus_pair))


def test_grid_masks_keep_every_place_and_share_some() -> None:
    for seed in range(5):
        first, second = toy_cases.grid_masks((300, 400), np.random.default_rng(seed))
        assert (first | second).all()
        for mask in (first, second):
            assert 0.5 < mask.mean() < 0.9
            assert (mask & ~(first & second)).mean() > 0.02
        assert (first & second).mean() > 0.2


def test_free_forms_keep_their_share_and_leave_places_to_no_one() -> None:
    first, second = toy_cases.freeform_masks((300, 400), np.random.default_rng(0))
    for mask in (first, second):
        assert mask.mean() == pytest.approx(toy_cases.TOY_KEEP, abs=0.001)
        # Smooth borders: few pixels have a neighbour on the other side.
        assert (mask[:, 1:] != mask[:, :-1]).mean() < 0.03
    assert (~first & ~second).mean() > 0.02


def test_masks_have_sizes_and_shares_of_the_pretext_task() -> None:
    pytest.importorskip("torch", reason="the pretext task is defined in torch")
    from defusion.pretext import masks

    for fixed, (least, most) in [
        (toy_cases.TOY_COARSE_PX, masks.COARSE_PX),
        (toy_cases.TOY_FINE_PX, masks.FINE_PX),
        (toy_cases.TOY_FREEFORM_PX, masks.FREEFORM_PX),
        (toy_cases.TOY_KEEP, masks.KEEP),
    ]:
        assert least <= fixed <= most


def test_sources_are_those_of_eq_1() -> None:
    scene = np.random.default_rng(7).random((200, 240, 3), np.float32)
    cases = {case.name: case for case in toy_cases.toy_cases(scene, seed=0)}
    assert list(cases) == CASES
    for case in cases.values():
        for source, kept in ((case.a, case.kept_a), (case.b, case.kept_b)):
            assert source.dtype == np.float32
            assert 0 <= source.min() <= source.max() <= 1
            if not kept.all():
                assert np.array_equal(source[kept], scene[kept])
    for name in ("grid_noise", "freeform_noise"):
        case = cases[name]
        # The mean of min(|n|, 1) for n of the standard normal distribution.
        assert case.a[~case.kept_a].mean() == pytest.approx(0.631, abs=0.01)
        neither = ~(case.kept_a | case.kept_b)
        if neither.any():
            assert abs(np.corrcoef(case.a[neither].ravel(), case.b[neither].ravel())[0, 1]) < 0.05
    zeros = cases["grid_zeros"]
    assert not zeros.a[~zeros.kept_a].any()
    assert np.array_equal(zeros.kept_a, cases["grid_noise"].kept_a)


def test_noise_has_the_papers_deviation_and_is_drawn_twice_or_once() -> None:
    scene = grey(200, 240)
    *_, two, one = toy_cases.toy_cases(scene, seed=0)
    for source in (two.a, two.b, one.a):
        assert 255 * (source - scene).std() == pytest.approx(10, rel=0.02)
    assert abs(np.corrcoef((two.a - scene).ravel(), (two.b - scene).ravel())[0, 1]) < 0.02
    assert np.array_equal(one.a, one.b)
    assert two.kept_a.all()


def test_a_seed_makes_the_same_cases_again_and_another_does_not() -> None:
    first, again, other = (toy_cases.toy_cases(grey(64, 64), seed) for seed in (1, 1, 2))
    for one, same, different in zip(first, again, other, strict=True):
        assert np.array_equal(one.a, same.a)
        assert not np.array_equal(one.a, different.a)


def test_statistics_are_those_of_the_pictures(toy: Toy, scene: Pixels) -> None:
    assert np.array_equal(toy.scene, scene)
    assert [row.statistics.case for row in toy.rows] == CASES
    for row in toy.rows:
        found, case = row.statistics, row.case
        both, alone_a = case.kept_a & case.kept_b, case.kept_a & ~case.kept_b
        assert found.source_noise_all == pytest.approx(255 * (case.a - scene).std(), abs=1e-2)
        assert found.activation_common > 0
        assert list(found.networks) == list(row.made) == ["paper", "pyramid"]
        for network, made in row.made.items():
            of = found.networks[network]
            assert of.psnr_common == pytest.approx(decibels(made.common, scene * both[..., None]), abs=1e-3)
            assert of.psnr_common_to_scene == pytest.approx(decibels(made.common, scene), abs=1e-3)
            if alone_a.any():
                assert of.psnr_unique_a == pytest.approx(
                    decibels(made.unique_a, scene * alone_a[..., None]), abs=1e-3
                )
            assert of.level_unique_b == pytest.approx(255 * made.unique_b.mean(), abs=1e-2)
            assert of.psnr == pytest.approx(decibels(made.fused, scene), abs=1e-3)
            assert of.noise_all == pytest.approx(255 * (made.fused - scene).std(), abs=1e-2)
            if case.name == "freeform_noise":  # it alone has places that no source keeps
                assert of.psnr_kept > of.psnr + 1
    assert toy.rows[1].statistics.kept_by_none > 0.05
    assert [row.statistics.kept_by_none for row in toy.rows[2:]] == [0, 0, 0]


def test_noise_is_measured_where_the_scene_is_flat(toy: Toy) -> None:
    for row in toy.rows[3:]:
        assert row.statistics.source_noise_flat == pytest.approx(10, rel=0.05)
        for found in row.statistics.networks.values():
            assert 0 < (found.noise_flat or 99) < 10.5


def test_the_shipped_paper_network_tells_common_from_unique(toy: Toy) -> None:
    grids, *_, one_noise = toy.rows
    of_grids, of_noise = (row.statistics.networks["paper"] for row in (grids, one_noise))
    assert of_grids.psnr_common > 18
    assert min(of_grids.psnr_unique_a, of_grids.psnr_unique_b) > 16
    assert of_grids.psnr > decibels((grids.case.a + grids.case.b) / 2, toy.scene) + 5
    assert of_noise.level_unique_a < 1
    assert of_noise.level_common == pytest.approx(255 * toy.scene.mean(), rel=0.05)


def test_parts_of_the_pyramid_network_add_up_to_its_picture(toy: Toy) -> None:
    for row in toy.rows:
        common, unique_a, unique_b, fused = row.made["pyramid"]
        assert np.abs(common + unique_a + unique_b - fused).max() < 1e-5


def test_weights_without_embeddings_are_refused(pyramid: Fuser) -> None:
    with pytest.raises(EvaluationError, match="has no embeddings; expected weights of the paper's network"):
        toys.toy(pyramid, pyramid, grey(16, 16))
    with pytest.raises(EvaluationError, match="has no embeddings"):
        embeddings.pair(pyramid, frames(*[np.zeros((16, 16, 3), np.uint8)] * 2))


def test_a_scene_without_flat_midtones_has_no_noise_figure_there(paper: Fuser, pyramid: Fuser) -> None:
    toy = toys.toy(paper, pyramid, np.zeros((24, 32, 1), np.float32))
    assert toy.scene.shape == (24, 32, 3)
    facts = [asdict(row.statistics) for row in toy.rows]
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert {fact["source_noise_flat"] for fact in facts} == {None}


def test_engines_explain_alike(pair: Pair, focus_pair: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    pytest.importorskip("torch", reason="it is the other engine")
    other = embeddings.pair(Fuser(weights="paper", engine="torch"), frames(*focus_pair))
    for made, expected in zip(pair.activation, other.activation, strict=True):
        assert np.abs(made - expected).max() < 1e-4 * expected.max()
    for kind in ("embeddings", "pictures"):
        made, expected = (getattr(each.statistics, kind) for each in (pair, other))
        assert made.common == pytest.approx(expected.common, rel=1e-3, abs=1e-3)
        assert made.focus_a.part == pytest.approx(expected.focus_a.part, abs=1e-3)
        assert made.focus_a.unique == pytest.approx(expected.focus_a.unique, rel=1e-3, abs=1e-3)


def test_focus_is_found_and_the_embeddings_are_measured_there(pair: Pair) -> None:
    for found in (pair.statistics.embeddings.focus_a, pair.statistics.embeddings.focus_b):
        assert 0.2 < found.part <= 0.55
        assert found.unique is not None and found.unique > 0
        assert found.common is not None and found.common > 0
        assert found.unique_over_common == pytest.approx(found.unique / found.common)
    assert len(pair.statistics.lines()) == 2


def test_map_statistics_of_known_maps() -> None:
    common = np.array([[1, 1, 1, 4]], np.float32)
    maps = ActivationMaps(common, np.array([[3, 2, 0, 0]], np.float32), np.array([[0, 0, 2, 2]], np.float32))
    left, nowhere = np.array([[True, True, False, False]]), np.zeros((1, 4), np.bool_)
    found = embeddings.map_statistics(maps, left, nowhere)
    assert (found.common, found.unique_a, found.unique_b, found.unique_above_common) == (1.75, 1.25, 1, 0.75)
    assert found.focus_a == embeddings.FocusStatistics(0.5, 2.5, 0, 1, 2.5, 1)
    assert found.focus_b == embeddings.FocusStatistics(0, None, None, None, None, None)
    normalised = maps.normalised()
    assert max(each.max() for each in normalised) == 1
    assert normalised.unique_b[0, 2] == normalised.unique_b[0, 3] == pytest.approx(2 / 4, rel=0.05)


def test_black_maps_stay_black() -> None:
    black = np.zeros((3, 4), np.float32)
    assert not np.stack(ActivationMaps(black, black, black).normalised()).any()


def test_sources_of_different_size_are_refused(paper: Fuser) -> None:
    sources = (np.zeros((8, 9, 3), np.uint8), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ImageError, match="source 2 is 8x8 pixels, source 1 is 9x8"):
        embeddings.pair(paper, frames(*sources))


def test_large_pictures_are_scaled_down_and_small_ones_left_alone() -> None:
    small = grey(40, 50)
    assert embeddings.shrunk(small) is small
    ramp = np.repeat(np.linspace(0, 1, 2000, dtype=np.float32)[None, :, None], 1000, axis=0).repeat(3, axis=2)
    scaled = embeddings.shrunk(ramp)
    height, width, _ = scaled.shape
    assert 0.98e6 < height * width <= 1e6
    assert width / height == pytest.approx(2, rel=0.01)
    assert np.abs(scaled[0, :, 0] - np.linspace(0, 1, width)).max() < 0.01


def test_equal_pictures_have_a_finite_psnr() -> None:
    assert toys.psnr(grey(4, 4), grey(4, 4)) == toys.EQUAL_PSNR
    assert toys.psnr(grey(4, 4, 0.5), grey(4, 4, 0.6)) == pytest.approx(20, abs=1e-4)


def test_figures_are_written_whole_and_the_same_each_time(pair: Pair, tmp_path: Path) -> None:
    files = save(pair_figure(pair), tmp_path, "pair")
    first = {suffix: file.read_bytes() for suffix, file in files.items()}
    assert first["pdf"].startswith(b"%PDF")
    with Image.open(files["png"]) as image:
        assert image.width == 2160  # 7.2 inches at 300 dots an inch
    again = save(pair_figure(pair), tmp_path, "pair")
    assert {suffix: file.read_bytes() for suffix, file in again.items()} == first
    assert sorted(each.name for each in tmp_path.iterdir()) == ["pair.pdf", "pair.png"]


def test_what_is_written_beside_the_panels_does_not_overlap(toy: Toy, pair: Pair) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for figure in (toy_figure(toy), pair_figure(pair)):
        renderer = FigureCanvasAgg(figure).get_renderer()
        boxes = [text.get_window_extent(renderer) for text in figure.texts]
        panels = [axes.get_window_extent(renderer) for axes in figure.axes]
        for index, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[index + 1 :] + panels)
            assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
            assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1


def test_a_folder_that_cannot_be_made_is_one_sentence(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "gone").write_text("no folder")
    with pytest.raises(DefusionError, match="gone"):
        save(pair_figure(pair), tmp_path / "gone", "pair")


def test_explaining_imports_no_torch() -> None:
    code = """
        import sys
        import numpy as np
        from defusion.api.fuser import Fuser
        from defusion.api.sources import frames_of
        from defusion.evaluation.explain import embeddings, figures
        pair = embeddings.pair(Fuser(weights="paper"), frames_of([np.zeros((16, 16, 3), np.uint8)] * 2))
        figures.pair_figure(pair)
        print([name for name in ("torch", "lightning", "scipy") if name in sys.modules])
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout.strip()) == (0, "[]"), ran.stderr


def test_the_command_prints_the_numbers_of_its_figure(
    paper: Fuser, pyramid: Fuser, toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Options] = []

    def fuser(options: Options, **choices: Any) -> Fuser:
        asked.append(options.changed(**choices))
        return paper if asked[-1].weights else pyramid

    monkeypatch.setattr("defusion.api.fuser.Fuser", fuser)
    picture = tmp_path / "scene.png"
    Image.fromarray(np.rint(255 * toy.scene).astype(np.uint8)).save(picture)
    ran = CliRunner().invoke(app, ["explain", "toy", str(picture), "-o", str(tmp_path / "out"), "--json"])
    assert [each.weights for each in asked] == ["paper", None]
    assert {each.precision for each in asked} == {"float32"}  # whatever the processor has
    facts = json.loads(ran.stdout)
    assert (facts["width"], facts["height"], facts["seed"], facts["weights"]) == (128, 96, 0, "paper")
    assert facts["cases"] == [asdict(row.statistics) for row in toy.rows]
    assert (tmp_path / "out" / "toy.pdf").read_bytes().startswith(b"%PDF")
    assert sorted(facts["outputs"].values()) == [str(tmp_path / "out" / f"toy.{suffix}") for suffix in ("pdf", "png")]
