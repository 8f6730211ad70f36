"""Pretexts of the pyramid network: what their views owe to the scene, whatever is drawn."""

from __future__ import annotations

import pytest
import torch
from skimage import data
from torch import Generator, Tensor

from defusion.pretext.absent import absent, grainy
from defusion.pretext.edges import box, edge_field, edge_masks, field, guided
from defusion.pretext.exposures import exposures
from defusion.pretext.focus import focus
from defusion.pretext.mixed import CLOSE_SHARES, KINDS, SHARES, SOURCES, ViewMaker, dotted, mixed, rough
from defusion.pretext.sensors import HOT_COUNTS, sensors
from defusion.pretext.views import Views, as_camera, at_rest, joined, one_of, strengths, uniform

each_pretext = pytest.mark.parametrize("pretext", KINDS.values(), ids=KINDS)
SEEDS = range(8)


def drawn(seed: int) -> Generator:
    return Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def photos() -> Tensor:
    """Three photographs, [3, 3, 64, 96]."""
    parts = [data.astronaut()[20:84, 180:276], data.coffee()[100:164, 200:296], data.chelsea()[60:124, 120:216]]
    return torch.stack([torch.from_numpy(part.copy()).permute(2, 0, 1) / 255 for part in parts])


def energy(planes: Tensor) -> Tensor:
    """Of fine detail, about each place."""
    light = planes.mean(-3, keepdim=True).flatten(0, -4)
    return box((light - box(light, 2)) ** 2, 4)


@each_pretext
@pytest.mark.parametrize("sources", [2, 4])
def test_views_have_their_shapes_and_ranges(pretext: ViewMaker, sources: int, photos: Tensor) -> None:
    for seed in SEEDS:
        views = pretext(photos, sources, drawn(seed))
        assert views.sources.shape == (sources, *photos.shape)
        assert views.target.shape == views.other_target.shape == photos.shape
        assert views.clean.shape == views.sources.shape
        assert views.masks.shape == (sources, 3, 1, 64, 96)
        assert views.moved.shape == (3, 1, 64, 96)
        assert views.one_light.shape == views.absent.shape == (3,)
        assert views.importance.shape == (3, 1, 64, 96)
        for planes in (*views[:-1], views.importance - views.importance.floor()):
            assert torch.isfinite(planes).all()
            assert -1e-5 <= planes.min() <= planes.max() <= 1 + 1e-5


@each_pretext
def test_a_seed_draws_the_same_views_again_and_another_does_not(pretext: ViewMaker, photos: Tensor) -> None:
    torch.manual_seed(5)
    one = pretext(photos, 3, drawn(1))
    torch.manual_seed(6)  # nothing comes from elsewhere
    again, other = pretext(photos, 3, drawn(1)), pretext(photos, 3, drawn(2))
    assert all(torch.equal(planes, same) for planes, same in zip(one, again, strict=True))
    assert not torch.equal(one.sources, other.sources)


@each_pretext
def test_sources_are_not_copies_of_each_other(pretext: ViewMaker, photos: Tensor) -> None:
    differ = [pretext(photos, 2, drawn(seed)).sources.diff(dim=0).abs().amax((0, 2, 3, 4)) for seed in SEEDS]
    assert torch.stack(differ).median() > 0.02


@each_pretext
def test_each_place_is_shown_by_some_source(pretext: ViewMaker, photos: Tensor) -> None:
    for seed in SEEDS:
        views = pretext(photos, 3, drawn(seed))
        if pretext is not absent:  # smooth regions may leave a place to nobody
            assert views.masks.amax(0).min() > 0.49


@each_pretext
def test_something_moves_only_where_it_is_said_to(pretext: ViewMaker, photos: Tensor) -> None:
    moving = 0
    for seed in SEEDS:
        views = pretext(photos, 3, drawn(seed))
        still = (views.moved == 0).expand_as(views.target)
        if pretext is focus:  # frames that are off show a place twice
            still = still & (views.masks.sum(0) < 1.5)
        changed = (views.other_target - views.target).abs()
        assert changed[still].numel() == 0 or changed[still].max() < 0.02
        moving += int((views.moved.amax((1, 2, 3)) > 0).sum())
    assert (moving > 0) == (pretext is exposures)


def test_kinds_of_views_say_what_they_are(photos: Tensor) -> None:
    said = {name: pretext(photos, 2, drawn(0)) for name, pretext in KINDS.items()}
    one_light = {name: bool(views.one_light.all()) for name, views in said.items()}
    assert one_light == {"focus": True, "exposures": False, "sensors": False, "absent": True, "grainy": True}
    assert {name for name, views in said.items() if views.absent.any()} == {"absent"}


def test_some_photographs_have_a_rough_part(photos: Tensor) -> None:
    many = photos.repeat(8, 1, 1, 1)
    made = rough(many, drawn(0))
    changed = (made != many).flatten(1).any(1)
    assert 0 < changed.float().mean() < 0.8
    assert (energy(made[changed]).mean() > energy(many[changed]).mean()).all()
    assert made.min() >= 0 and made.max() <= 1


def test_some_photographs_have_points(photos: Tensor) -> None:
    many = photos.repeat(16, 1, 1, 1)
    made = dotted(many, drawn(0))
    changed = (made != many).flatten(1).any(1)
    assert 0 < changed.float().mean() < 0.5
    assert torch.equal(made[~changed], many[~changed])
    assert made.min() >= 0 and made.max() <= 1


def test_some_scenes_of_all_kinds_have_no_colour(photos: Tensor) -> None:
    grey: dict[str, list[bool]] = {name: [] for name in KINDS}
    for seed in range(40):
        views, names = mixed(photos, drawn(seed))
        colour = (views.target.amax(1) - views.target.amin(1)).mean((1, 2))
        for name, spread in zip(names, colour.tolist(), strict=True):
            grey[name].append(spread < 0.03)
    assert all(grey["sensors"])
    assert all(0 < sum(each) < len(each) for name, each in grey.items() if name != "sensors")


def test_views_in_focus_are_sharp_where_their_masks_say(photos: Tensor) -> None:
    led = []
    for seed in SEEDS:
        views = focus(photos, 2, drawn(seed))
        first, second = (energy(view) for view in views.sources)
        alone = (views.masks[0] > 0.5) & (views.masks[1] < 0.5)
        if alone.any():
            led.append(float((first[alone] >= second[alone]).float().mean()))
    assert len(led) > 3
    assert sum(led) / len(led) > 0.7


def test_frames_that_are_off_are_asked_for_as_one_of_them_has_each_place(
    photos: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("defusion.pretext.focus.OFF", 1.0)
    by_first, by_middle = [], []
    for seed in SEEDS:
        views = focus(photos, 2, drawn(seed))
        first = views.masks[0] > 0.5
        made = torch.where(first, views.sources[0], views.sources[1])
        by_first.append(float((made - views.target).abs().mean()))
        by_middle.append(float((views.sources.mean(0) - views.target).abs().mean()))
    assert sum(by_first) < 0.5 * sum(by_middle)


def test_a_bracket_comes_in_random_order_and_spans_light(photos: Tensor) -> None:
    orders, spans = set(), []
    for seed in range(12):
        light = exposures(photos, 3, drawn(seed)).sources.mean((2, 3, 4))
        orders |= {tuple(each.argsort().tolist()) for each in light.T}
        spans.append(float((light.amax(0) - light.amin(0)).mean()))
    assert len(orders) > 4
    assert sum(spans) / len(spans) > 0.1


def test_what_is_asked_of_a_bracket_keeps_the_scenes_detail_and_is_not_clipped(photos: Tensor) -> None:
    for seed in SEEDS:
        scene = exposures(photos, 3, drawn(seed)).target
        assert (scene > 0.995).float().mean() < 0.02
        assert scene.std() > 0.05


def test_a_bracket_is_asked_for_in_light_between_its_views_and_nearer_to_the_brighter(photos: Tensor) -> None:
    of_target, darkest, brightest = [], [], []
    for seed in SEEDS:
        views = exposures(photos, 2, drawn(seed))
        lights = [each.mean((1, 2, 3)) for each in views.sources]
        of_target.append(views.target.mean((1, 2, 3)))
        darkest.append(torch.minimum(*lights))
        brightest.append(torch.maximum(*lights))
    target, dark, bright = (torch.cat(each) for each in (of_target, darkest, brightest))
    assert (target > dark - 0.03).all()
    assert (target < bright + 0.03).all()
    assert target.mean() > (dark + bright).mean() / 2 - 0.01


def test_a_bracket_is_asked_for_in_the_colours_of_the_scene_not_of_clipped_views(photos: Tensor) -> None:
    coloured = (photos * torch.tensor([1.0, 0.7, 0.4]).view(3, 1, 1)).clamp(0, 1)
    strengths = []
    for seed in range(6):
        views = exposures(coloured, 2, drawn(seed))
        strengths.append([(each.amax(-3) - each.amin(-3)).mean() for each in (views.target, views.sources.mean(0))])
    of_target, of_mean = torch.tensor(strengths).mean(0)
    assert of_target > 1.05 * of_mean


def test_a_sky_is_above_and_cold(photos: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    def coldest(skies: float) -> Tensor:
        monkeypatch.setattr("defusion.pretext.sensors.SKIES", skies)
        found = [sensors(photos, 2, drawn(seed)).sources.mean(2).amin(0) for seed in SEEDS]
        return torch.stack(found).mean((0, 1))

    with_sky, without = coldest(1.0), coldest(0.0)
    assert with_sky[:16].mean() < without[:16].mean() - 0.05
    assert with_sky[-16:].mean() > with_sky[:16].mean()


@pytest.mark.parametrize("sources", [2, 3])
def test_sensors_see_no_colour_and_come_in_random_order(sources: int, photos: Tensor) -> None:
    first = []
    for seed in range(12):
        views = sensors(photos, sources, drawn(seed))
        for planes in (*views.sources, views.target):
            assert torch.equal(planes[:, :1].expand_as(planes), planes)
        # Visible views share their masks; the thermal one has what is left.
        thermal = [
            [k for k in range(sources) if not torch.equal(views.masks[k, n], views.masks[k - 1, n])] for n in range(3)
        ]
        first += [0 in each if sources == 2 else len(each) == 2 and 0 in each for each in thermal]
    if sources == 3:
        assert 0 < sum(first) < len(first)


def test_noise_of_a_sensor_is_not_asked_for(photos: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("defusion.pretext.sensors.NIGHT", 1.0)
    for seed in SEEDS:
        views = sensors(photos, 2, drawn(seed))
        noisiest = torch.stack([energy(view) for view in views.sources]).amax(0)
        assert energy(views.target).mean() < noisiest.mean()


@pytest.mark.parametrize("pretext", [sensors, exposures])
def test_clean_views_are_the_sources_without_their_noise(pretext: ViewMaker, photos: Tensor) -> None:
    off, fine, of_noisy = [], [], []
    for seed in SEEDS:
        views = pretext(photos, 2, drawn(seed))
        off.append((views.clean - views.sources).abs().mean())
        fine.append(energy(views.clean.flatten(0, 1)).mean())
        of_noisy.append(energy(views.sources.flatten(0, 1)).mean())
    assert 0 < torch.stack(off).mean() < 0.04
    assert torch.stack(fine).mean() < torch.stack(of_noisy).mean()


def test_warm_things_are_sometimes_dark_in_the_other_view(photos: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    def darkest(share: float) -> float:
        monkeypatch.setattr("defusion.pretext.sensors.DARK_THINGS", share)
        found = []
        for seed in range(16):
            views = sensors(photos, 2, drawn(seed))
            hot = (views.importance > 1 + 0.9 * HOT_COUNTS)[None].expand_as(views.sources)
            found.append(views.clean.amin(0, keepdim=True).expand_as(views.clean)[hot])
        return float(torch.cat(found).mean())

    assert darkest(1.0) < darkest(0.0)


def test_some_scenes_have_white_ground(photos: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    def brightest(share: float) -> float:
        monkeypatch.setattr("defusion.pretext.sensors.SNOW", share)
        return float(torch.stack([sensors(photos, 2, drawn(seed)).clean.amax(0).mean() for seed in SEEDS]).mean())

    assert brightest(1.0) > brightest(0.0) + 0.03


def test_hot_things_count_more_and_are_there_as_the_thermal_view_has_them(photos: Tensor) -> None:
    for seed in SEEDS:
        views = sensors(photos, 2, drawn(seed))
        assert views.importance.min() == 1 and views.importance.max() <= 1 + HOT_COUNTS
        hot = (views.importance > 1 + 0.95 * HOT_COUNTS).expand_as(views.target)
        off = (views.sources - views.target).abs().amin(0)
        assert not hot.any() or off[hot].mean() < 0.03


def test_two_sensors_are_less_alike_than_two_cameras(photos: Tensor) -> None:
    def alike(views: Views) -> float:
        a, b = (view.mean(1).flatten(1) for view in views.sources)
        return float(torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(a, b, strict=True)]).mean())

    of_sensors, of_cameras = (
        sum(alike(pretext(photos, 2, drawn(seed))) for seed in SEEDS) / len(SEEDS) for pretext in (sensors, focus)
    )
    assert of_sensors < 0.7 < of_cameras


def test_sources_that_lack_places_keep_the_scene_where_their_masks_are_one(photos: Tensor) -> None:
    for seed in SEEDS:
        views = absent(photos, 3, drawn(seed))
        assert torch.equal(views.target, photos)
        kept = (views.masks == 1).expand_as(views.sources)
        assert torch.equal(views.sources[kept], photos.expand_as(views.sources)[kept])
        assert 0.3 < views.masks.mean() < 0.95


def test_grain_is_of_each_source_alone(photos: Tensor) -> None:
    flat = torch.full_like(photos, 0.5)
    a, b = grainy(flat, 2, drawn(0)).sources - 0.5
    assert 0 < a.std() < 0.07
    assert abs(float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])) < 0.03


def test_one_source_may_be_noisier_than_the_other(photos: Tensor) -> None:
    flat = torch.full((40, 3, 32, 32), 0.5)
    a, b = grainy(flat, 2, drawn(0)).sources.std((2, 3, 4))
    unequal = (a - b).abs() > 0.2 * torch.maximum(a, b)
    assert 0.2 < unequal.float().mean() < 0.8


def test_strengths_are_equal_in_a_share_of_scenes() -> None:
    equal = strengths(3, 400, 0.25, drawn(0)).flatten(1).std(0) == 0
    assert 0.15 < equal.float().mean() < 0.35


def test_masks_along_edges_give_each_place_to_one(photos: Tensor) -> None:
    masks = edge_masks(photos, 4, drawn(0))
    assert masks.shape == (4, 3, 1, 64, 96)
    assert torch.equal(masks.sum(0), torch.ones(3, 1, 64, 96))
    assert set(masks.unique().tolist()) == {0.0, 1.0}


def test_an_edge_field_changes_more_at_edges_than_beside_them() -> None:
    scene = torch.full((1, 3, 64, 96), 0.2)
    scene[..., 48:] = 0.8
    steps = [edge_field(scene, drawn(seed)).diff(dim=3).abs().mean((0, 1, 2)) for seed in SEEDS]
    mean = torch.stack(steps).mean(0)
    assert mean[47] > 5 * mean.median()


def test_a_field_has_mean_zero_and_spread_one() -> None:
    made = field((4, 64, 96), 12.0, drawn(0))
    assert made.shape == (4, 1, 64, 96)
    assert made.mean((2, 3)).abs().max() < 1e-5
    assert (made.std((2, 3)) - 1).abs().max() < 0.01


def test_guided_smoothing_keeps_a_step_of_its_guide() -> None:
    step = torch.zeros(1, 1, 32, 64)
    step[..., 32:] = 1
    noisy = step + 0.1 * torch.randn(step.shape, generator=drawn(0))
    made = guided(noisy, step, 4, 1e-3)
    assert (made - step).abs().mean() < 0.4 * (noisy - step).abs().mean()
    assert made[..., 33].mean() - made[..., 30].mean() > 0.9


def test_a_box_is_a_mean_and_leaves_what_is_level() -> None:
    x = torch.rand(1, 1, 20, 20, generator=drawn(0))
    assert box(x, 3)[0, 0, 10, 10] == pytest.approx(float(x[0, 0, 7:14, 7:14].mean()), abs=1e-6)
    of_corner = [float(x[0, 0, max(row, 0), max(column, 0)]) for row in range(-2, 3) for column in range(-2, 3)]
    assert box(x, 2)[0, 0, 0, 0] == pytest.approx(sum(of_corner) / 25, abs=1e-6)
    assert torch.allclose(box(torch.full_like(x, 0.3), 5), torch.full_like(x, 0.3))


def test_small_draws() -> None:
    values = uniform(1000, 2.0, 3.0, drawn(0))
    assert values.shape == (1000, 1, 1, 1)
    assert 2 <= values.min() < 2.05 and 2.95 < values.max() <= 3
    assert {one_of((1.0, 2.0), drawn(seed)) for seed in range(10)} == {1.0, 2.0}


def test_a_camera_rounds_to_eight_bits() -> None:
    levels = 255 * as_camera(torch.rand(2, 3, 8, 8, generator=drawn(0)), torch.tensor(0.01), drawn(1))
    assert torch.allclose(levels, levels.round(), atol=1e-4)


def test_batches_of_views_are_joined(photos: Tensor) -> None:
    both = joined([focus(photos, 3, drawn(0)), exposures(photos[:2], 3, drawn(1))])
    assert both.sources.shape == (3, 5, 3, 64, 96)
    assert both.masks.shape == (3, 5, 1, 64, 96)
    assert both.one_light.tolist() == [1, 1, 1, 0, 0]
    still = at_rest(both.sources, both.target, both.masks, both.one_light, both.absent)
    assert not still.moved.any()
    assert torch.equal(still.other_target, still.target)


def test_a_batch_mixes_kinds_of_as_many_sources(photos: Tensor) -> None:
    assert set(SHARES) == set(CLOSE_SHARES) == set(KINDS)
    assert sum(SOURCES.values()) == pytest.approx(1)
    counts, kinds = set(), set()
    for seed in range(12):
        views, names = mixed(photos, drawn(seed))
        assert views.sources.shape[1:] == photos.shape
        assert len(names) == len(photos)
        one_light = [name in ("focus", "absent", "grainy") for name in names]
        assert views.one_light.tolist() == one_light
        counts.add(len(views.sources))
        kinds |= set(names)
    assert counts <= set(SOURCES) and len(counts) > 1
    assert kinds == set(KINDS)
    assert set(mixed(photos, drawn(0), {**dict.fromkeys(KINDS, 0.0), "grainy": 1.0})[1]) == {"grainy"}
