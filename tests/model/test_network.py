"""The network as a function: sizes, outputs, heads, and what each source can and cannot change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from defusion.errors import ImageError, WeightsError
from defusion.model import CONFIGS, DeFusion
from defusion.model.config import (
    BLENDINGS,
    CONTRAST_ROOM,
    ENERGY_FLOOR,
    MIDDLE_ODDS,
    MOST_ODDS,
    OPPOSITION_PX,
    Blending,
    TaskName,
    in_stack,
    octaves_of,
)
from defusion.model.network import (
    Bottleneck,
    SplitAttention,
    Verdict,
    activity,
    blend,
    collapse,
    mixed_rest,
    octaves,
    opposition,
    recoloured,
    stretched,
)
from defusion.weights import WeightsFile, save


@pytest.fixture(scope="module")
def small(small_weights: WeightsFile) -> DeFusion:
    return DeFusion.from_file(small_weights.path)


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def sources(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    a, b = torch.rand(2, *shape, generator=torch.Generator().manual_seed(seed))
    return a, b


def test_split_attention_is_what_the_resnest_paper_says() -> None:
    torch.manual_seed(0)
    layer = SplitAttention(4)
    x = torch.rand(2, 4, 5, 6)
    # Written out branch by branch, channel by channel, in numpy.
    kernels = layer.conv.weight.numpy().astype(np.float64)  # [8, 2, 3, 3]
    padded = np.pad(x.numpy().astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    branches = np.zeros((2, 8, 5, 6))
    for out in range(8):
        for channel in range(2):
            for i in range(3):
                for j in range(3):
                    seen = padded[:, channel + 2 * (out // 4), i : i + 5, j : j + 6]
                    branches[:, out] += kernels[out, channel, i, j] * seen
    branches = np.maximum(branches, 0).reshape(2, 2, 4, 5, 6)  # batch, branch, channel
    context = branches.sum(1).mean((2, 3))
    squeeze, excite = (
        (dense.weight.numpy()[:, :, 0, 0], dense.bias.numpy()) for dense in (layer.squeeze, layer.excite)
    )
    hidden = np.maximum(context @ squeeze[0].T + squeeze[1], 0)
    logits = np.exp(hidden @ excite[0].T + excite[1]).reshape(2, 2, 4)
    expected = (branches * (logits / logits.sum(1, keepdims=True))[..., None, None]).sum(1)
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_block_without_residual_is_its_shortcut() -> None:
    block = Bottleneck(8, 8)
    nn.init.zeros_(block.conv_out.weight)
    x = torch.rand(1, 8, 6, 6)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (8, 8), (33, 70), (64, 9)])
def test_pictures_come_back_at_the_size_of_the_sources(small: DeFusion, height: int, width: int) -> None:
    made = small(*sources(2, 3, height, width))
    for picture in (made.common, made.unique_a, made.unique_b, made.fused):
        assert picture.shape == (2, 3, height, width)
        assert torch.isfinite(picture).all()


def test_padding_repeats_the_edge(small: DeFusion) -> None:
    a, b = sources(1, 3, 13, 18)
    padded = [nn.functional.pad(x, (0, 6, 0, 3), mode="replicate") for x in (a, b)]
    made, of_padded = small(a, b, head="paper"), small(*padded, head="paper")
    for found, expected in zip(made[:4], of_padded[:4], strict=True):
        torch.testing.assert_close(found, expected[..., :13, :18], rtol=0, atol=0)


def test_embeddings_come_only_when_asked_for(small: DeFusion) -> None:
    plain = small(*sources(1, 3, 16, 24))
    asked = small(*sources(1, 3, 16, 24), embeddings=True)
    assert (plain.f_c, plain.f_u1, plain.f_u2) == (None, None, None)
    for embedding in (asked.f_c, asked.f_u1, asked.f_u2):
        assert embedding.shape == (1, small.config.embedding, 16, 24)
    assert torch.equal(plain.fused, asked.fused)


def test_pictures_are_projections_of_the_embeddings(small: DeFusion) -> None:
    made = small(*sources(1, 3, 16, 24), embeddings=True, head="paper")
    assert torch.equal(made.common, small.project_common(made.f_c))
    assert torch.equal(made.unique_a, small.project_unique(made.f_u1))
    assert torch.equal(made.unique_b, small.project_unique(made.f_u2))
    assert torch.equal(made.fused, small.project_fused(made.f_c + made.f_u1 + made.f_u2))


def test_scenes_of_a_batch_do_not_see_each_other(small: DeFusion) -> None:
    a, b = sources(3, 3, 16, 16)
    whole = small(a, b)
    for scene in range(3):
        alone = small(a[scene : scene + 1], b[scene : scene + 1])
        for together, single in zip(whole[:4], alone[:4], strict=True):
            torch.testing.assert_close(together[scene : scene + 1], single, rtol=1e-4, atol=1e-4)


def test_equal_sources_have_equal_uniques(small: DeFusion) -> None:
    a, _ = sources(1, 3, 16, 16)
    made = small(a, a)
    assert torch.equal(made.unique_a, made.unique_b)


def test_each_unique_picture_follows_its_own_source(small: DeFusion) -> None:
    a, b = sources(1, 3, 16, 16)
    before, after = small(a, b), small(a, 1 - b)
    assert (before.unique_b - after.unique_b).abs().mean() > (before.unique_a - after.unique_a).abs().mean()


def test_common_projection_says_which_head_paints_the_common_picture(small: DeFusion) -> None:
    other = DeFusion(replace(small.config, common_projection="unique"))
    other.load_state_dict(small.state_dict())
    made = other(*sources(1, 3, 16, 16), embeddings=True)
    assert torch.equal(made.common, small.project_unique(made.f_c))
    assert not torch.equal(made.common, small.project_common(made.f_c))


def test_the_first_head_is_the_default_and_the_others_are_there(small: DeFusion) -> None:
    a, b = sources(1, 3, 16, 16)
    default, pyramid = small(a, b), small(a, b, head="pyramid")
    assert torch.equal(default.fused, pyramid.fused)
    for head in small.config.heads[1:]:
        other = small(a, b, head=head)
        assert not torch.equal(default.fused, other.fused)
        assert torch.equal(default.common, other.common)


def test_a_head_that_the_weights_lack_is_refused() -> None:
    with torch.device("meta"):
        network = DeFusion(replace(CONFIGS["small"], judges=False))
        a, b = torch.empty(2, 1, 3, 8, 8)
        with pytest.raises(WeightsError, match="not 'pyramid'"):
            network(a, b, head="pyramid")


@pytest.mark.parametrize("task", BLENDINGS)
def test_the_default_head_blends_the_sources_as_suits_the_task(
    small: DeFusion, task: TaskName, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = sources(2, 3, 21, 34)
    chosen = Blending(detail=0.5, finest=0.3, tone=1.5, rest=0.5, verdict=2.0)
    monkeypatch.setitem(BLENDINGS, task, chosen)
    made = small(a, b, embeddings=True, task=task)
    assert made.judged.shape == (2, 2, 2, 11, 17)
    torch.testing.assert_close(made.fused, blend(torch.stack([a, b]), made.judged, chosen), rtol=0, atol=0)
    assert not torch.equal(made.fused, blend(torch.stack([a, b]), made.judged, Blending()))


def test_the_verdict_on_a_source_goes_with_it(small: DeFusion) -> None:
    a, b = sources(1, 3, 24, 32)
    one, other = (small(*pair, embeddings=True) for pair in ((a, b), (b, a)))
    assert (one.judged[0] - one.judged[1]).abs().mean() > 0.01
    assert one.judged.std((2, 3, 4)).min() > 0.001  # it is not the same everywhere
    spread = one.judged.abs().max()
    differ = (one.judged - other.judged.flip(0)).abs().max()
    assert differ < spread  # but for the ensembler, which tells the sources apart


BLENDS = {
    "detail": Blending(detail=1.3, verdict=0.0),
    "finest": Blending(detail=0.4, finest=0.9, verdict=0.0),
    "tone": Blending(detail=0.7, tone=-2.5, rest=1.5, verdict=0.0),
    "rest_detail": Blending(detail=1.3, rest_detail=0.4, verdict=0.0),
    "contrast": Blending(detail=0.7, rest=0.8, contrast=1.6, stretch=1.3, verdict=0.0),
    "verdict": Blending(verdict=1.5),
    "all": Blending(detail=0.6, finest=0.5, tone=1.2, rest=0.9, rest_detail=0.3, verdict=0.8),
}
EACH_BLENDING = pytest.mark.parametrize("blending", BLENDS.values(), ids=BLENDS)


def judged_at(scale: int, source: Tensor, seed: int = 1) -> Tensor:
    """A verdict that changes from place to place, some of it below zero."""
    height, width = (-(-side // scale) for side in source.shape[2:])
    return torch.randn(len(source), 2, height, width, generator=torch.Generator().manual_seed(seed))


def same_everywhere(source: Tensor, *, score: float = 0.0, trust: float = 0.0) -> Tensor:
    height, width = ((side + 1) // 2 for side in source.shape[2:])
    return torch.tensor([score, trust]).view(1, 2, 1, 1).expand(len(source), 2, height, width)


def halved(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of squares of four."""
    return (plane[..., ::2, ::2] + plane[..., 1::2, ::2] + plane[..., ::2, 1::2] + plane[..., 1::2, 1::2]) / 4


def doubled(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bilinear: a pixel lies a quarter of the way to the next of the smaller plane."""
    for axis in (-2, -1):
        length = plane.shape[axis]
        before = plane.take(np.r_[0, : length - 1], axis)
        after = plane.take(np.r_[1:length, length - 1], axis)
        both = np.stack([0.75 * plane + 0.25 * before, 0.75 * plane + 0.25 * after], axis % plane.ndim + 1)
        plane = both.reshape(*(2 * side if at == axis % plane.ndim else side for at, side in enumerate(plane.shape)))
    return plane


def energy(detail: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a plane [3, H, W], on a log scale above the floor."""
    around: NDArray[np.float64] = gaussian_filter(detail.mean(0) ** 2, 2, mode="nearest", truncate=3)
    return np.log(around / ENERGY_FLOOR + 1)


def verdict_by_hand(judged: NDArray[np.float64], octave: int, scale: int, size: Sequence[int]) -> NDArray[np.float64]:
    """Of [2, h, w], a pixel of which stands for `scale` of the finest octave, at the size of an octave."""
    if 1 << octave > scale:
        return halved(verdict_by_hand(judged, octave - 1, scale, [2 * side for side in size]))
    for _ in range(round(np.log2(scale)) - octave):
        judged = doubled(judged)
    more = [(0, max(0, side - found)) for side, found in zip(size, judged.shape[1:], strict=True)]
    return np.pad(judged, ((0, 0), *more), "edge")[:, : size[0], : size[1]]


@EACH_BLENDING
@pytest.mark.parametrize(
    ("height", "width", "count", "scale"),
    [(32, 48, 3, 2), (21, 35, 2, 2), (9, 8, 1, 2), (45, 64, 1, 4), (33, 50, 2, 8)],
)
def test_octaves_are_weighed_as_they_are_defined(
    blending: Blending, height: int, width: int, count: int, scale: int
) -> None:
    source, _ = sources(1, 3, height, width)
    judged = judged_at(scale, source)
    *parts, coarser = octaves(source, judged, count, blending, scale=scale)
    assert len(parts) == count

    def check(part: Tensor, detail: NDArray[np.float64], odds: NDArray[np.float64]) -> None:
        assert part.shape == (1, 4, *detail.shape[1:])
        np.testing.assert_allclose((part[:, :3] / part[:, 3:])[0].numpy(), detail, rtol=0, atol=1e-5)
        expected = (odds - MIDDLE_ODDS).clip(-MOST_ODDS, MOST_ODDS)
        np.testing.assert_allclose(part[0, 3].log().numpy(), expected, rtol=0, atol=2e-3)

    multiple = 2**count
    plane = source[0].double().numpy()
    plane = np.pad(plane, ((0, 0), *((0, -side % multiple) for side in plane.shape[1:])), "edge")
    finest = own = energy(plane - doubled(halved(plane)))
    for octave, part in enumerate(parts):
        score, trust = verdict_by_hand(judged[0].double().numpy(), octave, scale, plane.shape[1:])
        smooth = doubled(halved(plane))
        detail = plane - smooth
        own = energy(detail)
        trusted = (blending.detail + blending.verdict * trust) * own + blending.finest * finest
        check(part, detail, trusted + blending.verdict * score + blending.tone * smooth.mean(0))
        plane, finest = halved(plane), halved(finest)
    if scale <= multiple:  # else the rest comes from elsewhere, at which the verdict was no smaller
        score, _ = verdict_by_hand(judged[0].double().numpy(), count, scale, plane.shape[1:])
        shown = blending.rest * plane.mean(0) + blending.rest_detail * halved(own)
        check(coarser, plane, blending.verdict * score + shown)


def test_contrast_is_given_back_to_the_light_of_two_sources_where_they_differ() -> None:
    dark, bright = torch.full((1, 3, 2, 4), 0.2), torch.full((1, 3, 2, 4), 0.8)
    odds = torch.tensor([3.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 2, 4)
    half = torch.arange(4).expand(1, 3, 2, 4) < 2
    lights = torch.stack([torch.where(half, dark, bright), torch.where(half, dark, dark)])  # they differ on the right
    parts = torch.cat([lights * odds[:, None], odds[:, None]], 2)
    plain = mixed_rest(parts, Blending())
    torch.testing.assert_close(plain[..., 0, :], torch.tensor([0.2, 0.2, 0.65, 0.65]).expand(1, 3, 4))
    # The mean is 0.425, so 0.65 comes to stand at 0.695, and 0.2 may not fall.
    stronger = mixed_rest(parts, Blending(contrast=1.2))
    torch.testing.assert_close(stronger[..., 0, :], torch.tensor([0.2, 0.2, 0.695, 0.695]).expand(1, 3, 4))
    strongest = mixed_rest(parts, Blending(contrast=5.0))
    torch.testing.assert_close(strongest[..., 0, :], torch.tensor([0.2, 0.2, 0.8, 0.8]).expand(1, 3, 4))


def test_the_light_of_the_paler_source_is_stretched_to_the_spread_of_the_other() -> None:
    strong = torch.tensor([0.1, 0.3, 0.7, 0.9]).expand(1, 3, 2, 4)
    pale = 0.3 + strong / 2
    for most, expected in [(1.0, pale), (1.5, 0.55 + 1.5 * (pale - 0.55)), (2.5, 0.55 + 2 * (pale - 0.55))]:
        made = stretched(torch.stack([strong, pale]), most)
        torch.testing.assert_close(made[0], strong)
        torch.testing.assert_close(made[1], expected)
    flat = torch.full_like(strong, 0.95)  # there is nothing to stretch
    torch.testing.assert_close(stretched(torch.stack([strong, flat]), 9.0)[1], flat)
    bright = torch.tensor([0.7, 0.8, 1.0, 1.0]).expand(1, 3, 2, 4)
    assert stretched(torch.stack([strong, bright]), 9.0).amax() == 1


def test_contrast_leaves_room_below_white_for_what_one_source_shows_in_the_glare_of_the_other() -> None:
    glare = torch.tensor([0.1, 0.1, 0.1, 1.0]).expand(2, 1, 3, 1, 4)
    for other, expected in [(0.2, 1 - CONTRAST_ROOM), (0.9, 0.95)]:  # a mixture that is brighter stays as it is
        lights = glare.clone()
        lights[1, ..., 3] = other
        made = mixed_rest(torch.cat([lights, torch.ones(2, 1, 1, 1, 4)], 2), Blending(contrast=9.0))
        torch.testing.assert_close(made[0, :, 0, 3], torch.full((3,), expected))


def test_a_clipped_place_takes_its_colour_from_the_source_that_holds_it() -> None:
    fused, blue, white = (torch.tensor(each).view(1, 3, 1, 1) for each in ([0.6] * 3, [0.1, 0.2, 0.6], [1.0] * 3))
    for sources_ in ([blue, white], [white, blue]):
        made = recoloured(fused, torch.stack(sources_), 0.5)
        # Chroma of -.2, -.1 and .3 at a brightness of .3 grows by .6 / .45, and half of that is taken.
        torch.testing.assert_close(made.flatten(), 0.6 + torch.tensor([-0.2, -0.1, 0.3]) * (0.6 / 0.45) / 2)
    yellow = torch.tensor([1.0, 1.0, 0.2]).view(1, 3, 1, 1)  # two of three channels are clipped
    by_yellow = recoloured(fused, torch.stack([blue, yellow]), 0.5)
    torch.testing.assert_close(by_yellow - fused, (made - fused) * 2 / 3)
    for other in (blue, white):
        torch.testing.assert_close(recoloured(fused, torch.stack([other, other]), 0.5), fused)


def test_colour_that_has_no_room_is_paler_and_keeps_its_hue_and_brightness() -> None:
    blue, white = torch.tensor([0.1, 0.2, 0.9]).view(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    blue = blue * 0.9  # just below what counts as clipped
    for level in (0.02, 0.5, 0.97, 1.0):
        made = recoloured(torch.full((1, 3, 1, 1), level), torch.stack([blue, white]), 1.0).flatten()
        assert made.min() >= -1e-6
        assert made.max() <= 1 + 1e-6
        torch.testing.assert_close(made.mean(), torch.tensor(level))
        chroma, expected = made - made.mean(), (blue - blue.mean()).flatten()
        torch.testing.assert_close(chroma * expected.norm(), expected * chroma.norm(), rtol=0, atol=1e-5)


def test_without_octaves_the_source_is_weighed_as_its_finest_detail() -> None:
    source, _ = sources(1, 3, 21, 34)
    judged = judged_at(2, source)
    blending = Blending(octaves=0)
    (whole,) = octaves(source, judged, 0, blending)
    finest = octaves(source, judged, 1, blending)[0]
    torch.testing.assert_close(whole[:, 3:], finest[:, 3:], rtol=0, atol=0)
    torch.testing.assert_close(whole[:, :3] / whole[:, 3:], nn.functional.pad(source, (0, 0, 0, 1), mode="replicate"))


def test_a_frame_of_a_stack_counts_by_its_detail_and_not_by_its_tone() -> None:
    pair = Blending(
        detail=1.5,
        finest=0.5,
        tone=4.0,
        rest=2.0,
        rest_detail=0.2,
        contrast=1.5,
        stretch=1.3,
        colour=0.5,
        verdict=0.25,
    )
    assert in_stack(pair) == Blending(detail=4.5, finest=1.5, verdict=0.25)
    assert in_stack(pair._replace(judge="opposition")).verdict == 0  # it needs to see all sources of a place


@EACH_BLENDING
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (5, 300), (21, 34), (72, 40)])
def test_octaves_of_one_source_collapse_to_it(blending: Blending, height: int, width: int) -> None:
    source, _ = sources(2, 3, height, width)
    for count in {1, 2, octaves_of(height, width, blending)}:
        parts = octaves(source, judged_at(2, source), count, blending)
        torch.testing.assert_close(collapse(parts)[..., :height, :width], source, rtol=0, atol=1e-5)


def test_what_is_coarser_may_come_from_elsewhere() -> None:
    source, _ = sources(1, 3, 24, 40)
    parts = octaves(source, judged_at(8, source), 2, BLENDS["all"], scale=8, with_rest=False)
    assert [part.shape[2:] for part in parts] == [(24, 40), (12, 20)]
    rest = nn.functional.avg_pool2d(source, 4)
    torch.testing.assert_close(collapse(parts, rest), source, rtol=0, atol=1e-5)
    torch.testing.assert_close(collapse(parts, rest + 0.25), source + 0.25, rtol=0, atol=1e-5)


@EACH_BLENDING
@pytest.mark.parametrize(("height", "width"), [(1, 1), (21, 34), (72, 40)])
def test_blend_of_equal_sources_is_the_source(blending: Blending, height: int, width: int) -> None:
    a, _ = sources(2, 3, height, width)
    judged = torch.stack([judged_at(2, a, seed) for seed in (1, 2)])
    torch.testing.assert_close(blend(torch.stack([a, a]), judged, blending), a, rtol=0, atol=1e-5)


@EACH_BLENDING
def test_the_order_of_sources_does_not_matter_to_a_blend(blending: Blending) -> None:
    a, b = sources(1, 3, 33, 50)
    pair, judged = torch.stack([a, b]), torch.stack([judged_at(2, a, 1), judged_at(2, b, 2)])
    one, other = blend(pair, judged, blending), blend(pair.flip(0), judged.flip(0), blending)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    assert (one - blend(pair, judged.flip(0), blending)).abs().max() > 0.01 or blending.verdict == 0


@EACH_BLENDING
def test_a_pyramid_adds_no_light_of_its_own(blending: Blending) -> None:
    a, b = (torch.full((1, 3, 50, 64), level) for level in (0.2, 0.8))
    judged = torch.stack([same_everywhere(a, score=0.5, trust=3.0), same_everywhere(b, score=-0.2, trust=-1.0)])
    fused = blend(torch.stack([a, b]), judged, blending)
    lead = blending.rest * (0.8 - 0.2) + blending.verdict * (-0.2 - 0.5)
    expected = 0.2 + 0.6 / (1 + np.exp(-lead))
    torch.testing.assert_close(fused, torch.full_like(fused, float(expected)), rtol=0, atol=1e-5)
    uneven = blend(torch.stack([a, b]), torch.stack([judged_at(2, a, 1), judged_at(2, b, 2)]), blending)
    assert uneven.min() >= 0.2 - 1e-5
    assert uneven.max() <= 0.8 + 1e-5


def focus_pair(side: int = 96) -> tuple[Tensor, Tensor, Tensor]:
    """A scene of noise, and it out of focus: on the left in the first source, on the right in the second."""
    scene, _ = sources(1, 3, side, side)
    blurred = nn.functional.avg_pool2d(scene, 7, 1, padding=3, count_include_pad=False)
    left = torch.arange(side) < side // 2
    return torch.where(left, blurred, scene), torch.where(left, scene, blurred), scene


def test_detail_brings_each_places_sharp_source(small: DeFusion) -> None:
    a, b, scene = focus_pair()
    pair = torch.stack([a, b])
    far_from_the_border = [*range(24), *range(72, 96)]

    def error(fused: Tensor) -> float:
        return float((fused - scene).abs()[..., far_from_the_border].mean())

    trusted = torch.stack([same_everywhere(a, trust=4.0)] * 2)
    unknown = torch.zeros_like(trusted)
    assert error(blend(pair, trusted, Blending(detail=0.0))) < 0.01
    assert error(blend(pair, unknown, Blending(detail=4.0))) < 0.01
    assert error(blend(pair, unknown, Blending(detail=0.0, finest=4.0))) < 0.01
    assert error(small(a, b, head="detail").fused) < 0.01
    assert error(blend(pair, unknown, Blending(detail=0.0))) > 0.1  # the mean of both
    assert error(blend(pair, trusted, Blending(detail=0.0, verdict=0.0))) > 0.1


def test_trust_below_zero_shuns_detail_as_noise() -> None:
    noisy, _ = sources(1, 3, 48, 48)
    noisy += 0.5 - nn.functional.interpolate(nn.functional.avg_pool2d(noisy, 8), scale_factor=8)  # level all over
    flat = torch.full_like(noisy, 0.5)
    pair = torch.stack([noisy, flat])
    fused, mean = (
        blend(pair, torch.stack([same_everywhere(noisy, trust=trust)] * 2), Blending(detail=0.0))
        for trust in (-4.0, 0.0)
    )
    torch.testing.assert_close(fused, flat, rtol=0, atol=1e-3)
    torch.testing.assert_close(mean, (noisy + flat) / 2, rtol=0, atol=1e-5)


def test_a_source_of_far_better_score_is_taken_alone() -> None:
    a, b = sources(1, 3, 33, 50)
    judged = torch.stack([same_everywhere(a, score=-20.0), same_everywhere(b, score=20.0)])
    pair = torch.stack([a, b])
    torch.testing.assert_close(blend(pair, judged, Blending(detail=0.0)), b, rtol=0, atol=1e-5)
    torch.testing.assert_close(blend(pair, judged, Blending(detail=0.0, verdict=-1.0)), a, rtol=0, atol=1e-5)
    mean = blend(pair, judged, Blending(detail=0.0, verdict=0.0))
    torch.testing.assert_close(mean, (a + b) / 2, rtol=0, atol=1e-5)


def test_a_score_of_any_range_stays_a_number() -> None:
    a, b = sources(1, 3, 16, 24)
    judged = torch.stack([same_everywhere(a, score=-1e6), same_everywhere(b, score=1e6)])
    torch.testing.assert_close(blend(torch.stack([a, b]), judged, Blending(detail=0.0)), b, rtol=0, atol=1e-5)


def squares(inside: float, outside: float) -> Tensor:
    """A square on a level ground, and another at its right, [1, 3, 64, 128]."""
    plane = torch.full((1, 3, 64, 128), outside)
    plane[..., 24:40, 24:40] = plane[..., 24:40, 88:104] = inside
    return plane


def test_where_details_oppose_the_brighter_of_its_surroundings_has_the_score() -> None:
    warm, dark = squares(0.9, 0.3), squares(0.2, 0.7)
    warm[..., 24:40, 88:104] = 0.1  # on the right both are darker than the ground: they agree
    judged = opposition(torch.stack([warm, dark]), 3)
    assert judged.shape == (2, 1, 2, 32, 64)
    of_warm, of_dark = Verdict.of(judged)[0]
    inside, agreed = (..., slice(12, 20), slice(12, 20)), (..., slice(12, 20), slice(44, 52))
    assert (of_warm[inside] - of_dark[inside]).min() > 0.01
    torch.testing.assert_close(of_warm[agreed], torch.zeros_like(of_warm[agreed]), rtol=0, atol=2e-3)
    assert torch.equal(Verdict.of(judged).trust, Verdict.of(judged).score)
    torch.testing.assert_close(opposition(torch.stack([dark, warm]), 3), judged.flip(0), rtol=0, atol=0)


def test_opposition_is_summed_over_octaves_as_it_is_defined() -> None:
    height, width, count = 45, 70, 3
    a, b = sources(1, 3, height, width)
    judged = opposition(torch.stack([a, b]), count)[:, 0].double().numpy()
    planes = torch.cat([a, b]).double().mean(1).numpy()
    plane = halved(np.pad(planes, ((0, 0), *((0, -side % 2**count) for side in planes.shape[1:])), "edge"))

    def around(values: NDArray[np.float64]) -> NDArray[np.float64]:
        smooth: NDArray[np.float64] = gaussian_filter(values, OPPOSITION_PX, mode="nearest", truncate=3)
        return smooth

    scores = []
    for _ in range(1, count):
        coarse = halved(plane)
        one, other = detail = plane - doubled(coarse)
        correlation = around(one * other) / (np.sqrt(around(one**2) * around(other**2)) + ENERGY_FLOOR)
        scores.append(np.maximum(-correlation, 0) * np.stack([around(np.maximum(each, 0)) for each in detail]))
        plane = coarse
    expected = scores[0] + doubled(scores[1])
    np.testing.assert_allclose(judged[:, 0], expected[:, : (height + 1) // 2, : (width + 1) // 2], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("height", "width", "count"), [(1, 1, 1), (7, 30, 1), (21, 34, 2)])
def test_a_picture_of_one_octave_has_nothing_opposed(height: int, width: int, count: int) -> None:
    a, b = sources(2, 3, height, width)
    judged = opposition(torch.stack([a, b]), count)
    assert judged.shape == (2, 2, 2, (height + 1) // 2, (width + 1) // 2)
    assert bool(judged.any()) == (count > 1)


def test_who_leads_where_details_oppose_leaves_the_other_its_finer_detail() -> None:
    warm, dark = squares(0.9, 0.3), squares(0.2, 0.7)
    lettering = torch.zeros_like(dark)
    lettering[..., 26:38:2, 26:38] = 0.1

    def readable(verdict: float) -> float:
        blending = BLENDINGS["infrared"]._replace(verdict=verdict)
        plain, written = (
            blend(pair, opposition(pair, 3), blending)
            for pair in (torch.stack([warm, dark]), torch.stack([warm, dark + lettering]))
        )
        left = (written - plain)[..., 28:36, 28:36]
        return float(left[..., ::2, :].mean() - left[..., 1::2, :].mean())

    assert readable(BLENDINGS["infrared"].verdict) > 0.9 * readable(0.0) > 0.02


def test_infrared_keeps_what_is_warm_where_visible_light_has_it_dark(small: DeFusion) -> None:
    warm, dark = squares(0.9, 0.3), squares(0.2, 0.7)
    fused = small(warm, dark, task="infrared").fused
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BLENDINGS, "infrared", BLENDINGS["infrared"]._replace(verdict=0.0))
        without = small(warm, dark, task="infrared").fused

    def stands_out(picture: Tensor) -> float:
        return float(picture[..., 28:36, 28:36].mean() - picture[..., 20:44, 8:16].mean())

    assert stands_out(fused) > stands_out(without) + 0.02


def test_activity_is_the_log_energy_of_detail_above_the_floor() -> None:
    scenes, _ = sources(2, 3, 40, 50)
    details = 0.2 * (scenes - 0.5)
    details[1] *= 0.01  # around the floor
    for detail, found in zip(details, activity(details), strict=True):
        np.testing.assert_allclose(found[0].numpy(), energy(detail.double().numpy()), rtol=0, atol=1e-4)
    assert (activity(torch.zeros(1, 3, 9, 9)) == 0).all()


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((1, 3, 8, 8), (1, 3, 8, 9)),
        ((1, 3, 8, 8), (2, 3, 8, 8)),
        ((1, 1, 8, 8), (1, 1, 8, 8)),
        ((3, 8, 8), (3, 8, 8)),
    ],
)
def test_sources_of_other_shapes_are_refused(small: DeFusion, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"expected twice the same \[N, 3, H, W\]"):
        small(torch.zeros(a), torch.zeros(b))


def test_tensors_that_do_not_fit_their_own_config_are_refused(small: DeFusion, tmp_path: Path) -> None:
    tensors = {key: value.numpy() for key, value in small.state_dict().items()}
    del tensors["encoder.stem.weight"]
    file = save(tmp_path / "cut.safetensors", tensors, small.config, {})
    with pytest.raises(WeightsError, match=r"encoder\.stem\.weight"):
        DeFusion.from_file(file.path)


def test_a_loaded_network_is_float32_and_in_eval_mode(small_weights: WeightsFile, tmp_path: Path) -> None:
    halves = {key: value.astype(np.float16) for key, value in small_weights.tensors().items()}
    file = save(tmp_path / "half.safetensors", halves, small_weights.config, {})
    network = DeFusion.from_file(file.path)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert not network.training
