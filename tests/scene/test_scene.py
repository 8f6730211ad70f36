"""Scenes: what is seen of the frames, and the form of what they fuse to."""

from __future__ import annotations

import weakref
from dataclasses import replace
from functools import partial
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from defusion import Fuser, ImageError
from defusion.imaging import Picture, from_array
from defusion.imaging.colour_tags import linear_profile
from defusion.imaging.levels import used
from defusion.imaging.tone import Levels, is_linear
from defusion.scene.frame import Frame, kept
from defusion.scene.kind import measure
from defusion.scene.scene import Scene

PHOTO = np.ascontiguousarray(data.astronaut()[40:201, 100:301])


def scene(*pictures: Picture, palette: str = "auto") -> Scene:
    return Scene([Frame.of(f"{number}.tif", picture) for number, picture in enumerate(pictures)], palette)


def adobe(pixels: NDArray[np.uint8]) -> Picture:
    """The same colours as sRGB pixels, in Adobe RGB."""
    profile = imagecodecs.cms_profile("adobergb")
    converted = imagecodecs.cms_transform(
        pixels, imagecodecs.cms_profile("srgb"), profile, colorspace="rgb", outcolorspace="rgb"
    )
    return replace(from_array(converted), icc=profile)


def test_sources_are_brought_to_the_profile_of_the_first() -> None:
    plain, other = from_array(PHOTO), adobe(PHOTO)
    assert np.abs(plain.pixels - other.pixels).mean() > 0.01
    for first, second in [(plain, other), (other, plain)]:
        seen = scene(first, second)
        assert seen.form.icc == first.icc
        assert any("1.tif: colours converted to" in note for note in seen.notes)
        fused = Fuser(align="off").fuse([first, second])
        assert fused.icc == first.icc
        assert np.abs(fused.pixels - first.pixels).mean() < 0.01


def test_the_form_is_that_of_the_deepest_and_of_the_first() -> None:
    grey, deep = from_array(PHOTO[..., 0]), from_array(PHOTO[..., 0].astype(np.uint16) * 257)
    first = replace(grey, exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0")
    form = scene(first, deep).form
    assert (form.size, form.channels, form.depth, form.exif) == ((161, 201), 1, "uint16", first.exif)
    assert scene(grey, from_array(PHOTO)).form.channels == 3


def test_a_frame_of_another_size_is_named() -> None:
    with pytest.raises(ImageError, match=r"2\.tif is 200x161 pixels, 0\.tif is 201x161"):
        scene(from_array(PHOTO), from_array(PHOTO), from_array(PHOTO[:, 1:]))


def inferno(heat: NDArray[np.uint8]) -> Picture:
    from matplotlib import colormaps

    return from_array((colormaps["inferno"](heat)[..., :3] * 255).astype(np.uint8))


def test_one_frame_in_false_colour_is_recognised_and_two_are_left() -> None:
    heat = PHOTO.mean(2).astype(np.uint8)
    hot, visible = inferno(heat), from_array(PHOTO)
    assert [each.colourless for each in scene(hot, visible).statistics] == [True, False]
    assert [each.colourless for each in scene(visible, hot).statistics] == [False, True]
    assert [each.colourless for each in scene(hot, visible, palette="none").statistics] == [False, False]
    assert [each.colourless for each in scene(hot, hot).statistics] == [False, False]


def test_a_palette_that_is_named_goes_to_the_frame_nearest_to_it() -> None:
    heat = PHOTO.mean(2).astype(np.uint8)
    hot, visible = inferno(heat), from_array(PHOTO)
    for pictures, expected in [((hot, visible), [True, False]), ((visible, hot), [False, True])]:
        assert [each.colourless for each in scene(*pictures, palette="iron").statistics] == expected


def test_a_palette_that_is_named_leaves_grey_frames_as_they_are() -> None:
    grey = from_array(PHOTO[..., 0])
    seen = scene(grey, grey, palette="iron")
    assert seen.notes == ("no source has colour, so palette iron was not converted back",)
    assert seen.form.channels == 1


def test_each_frame_is_opened_once_and_let_go() -> None:
    opened: list[weakref.ref[NDArray[np.uint8]]] = []

    def frame(number: int) -> Frame:
        def open_again() -> Picture:
            assert not any(each() is not None for each in opened)
            picture = from_array(PHOTO // (1 + number))
            opened.append(weakref.ref(picture.samples.base))
            return picture

        return Frame(f"{number}.tif", open_again)

    seen = Scene([frame(number) for number in range(3)])
    assert len(opened) == 3
    assert seen.form.size == (161, 201)


def test_frames_of_a_stack_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []

    def opened(number: int) -> Picture:
        reads.append(number)
        return Picture(PHOTO)

    frames = [Frame(str(number), partial(opened, number)) for number in range(3)]
    for frame in 2 * kept(frames):
        assert frame.open().samples is PHOTO
    assert reads == [0, 1, 2]
    monkeypatch.setattr("defusion.scene.shelf.MEMORY_BYTES", 3 * PHOTO.nbytes - 1)
    for frame in 2 * kept(frames):
        np.testing.assert_array_equal(np.asarray(frame.open().samples), PHOTO)
    assert reads[3:] == [0, 1, 2]


@pytest.mark.parametrize(("level", "name"), [(0, "black"), (255, "white")])
def test_frames_that_show_nothing_are_left_out(level: int, name: str) -> None:
    blank, shown = from_array(np.full_like(PHOTO, level)), from_array(PHOTO)
    fuser = Fuser()
    fused = fuser.fuse_frames([Frame.of("blank.tif", blank), Frame.of("shown.tif", shown)])
    assert f"blank.tif: left out, it is {name} all over" in fused.notes
    assert not any("equal to" in note for note in fused.notes)
    assert np.abs(fused.picture().samples.astype(int) - PHOTO).max() <= 1
    darker = from_array(PHOTO // 2)
    assert fuser.plan([shown, blank, darker]) == fuser.plan([shown, darker])
    assert (
        fuser.plan([shown, darker])
        == fuser.fuse_frames([Frame.of("1", each) for each in (shown, blank, darker)]).plan
    )
    assert np.array_equal(fuser.fuse([shown, blank, darker]).samples, fuser.fuse([shown, darker]).samples)
    assert fuser.fuse([blank, blank]).samples.min() == fuser.fuse([blank, blank]).samples.max()


def test_a_spot_in_a_large_black_frame_is_something() -> None:
    dark = np.zeros((1500, 1500, 3), np.uint8)
    spotted = dark.copy()
    spotted[700, 611] = 40
    assert measure(from_array(dark)).blank == "black all over"
    for picture in (from_array(spotted), from_array(255 - spotted)):
        assert measure(picture).blank is None


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_few_bits_in_sixteen_are_fused_as_the_whole_range_is(bits: int) -> None:
    bracket = [np.clip(PHOTO / 255 * gain, 0, 1) for gain in (0.25, 0.6, 1.8)]
    few = [from_array(np.rint(each * (2**bits - 1)).astype(np.uint16)) for each in bracket]
    whole = [from_array(np.rint(each * 65535).astype(np.uint16)) for each in bracket]
    seen = scene(*few)
    assert any(f"use values from 0 to {2**bits - 1}" in note for note in seen.notes)
    assert seen.ranges == dict.fromkeys(("0.tif", "1.tif", "2.tif"), (0, 2**bits - 1))
    fuser = Fuser(precision="float32", align="off")
    fused, expected = fuser.fuse(few), fuser.fuse(whole)
    assert fused.samples.max() <= 2**bits - 1
    np.testing.assert_allclose(fused.pixels, expected.pixels, atol=6 / 2**bits)


def test_dark_frames_beside_bright_ones_are_no_narrow_range() -> None:
    bright = PHOTO.astype(np.uint16) * 257
    for dark, other in ((bright // 16, bright), (bright[..., 0] // 16, bright[..., 0])):
        seen = scene(from_array(dark), from_array(other))
        assert (seen.ranges, seen.form.levels, seen.notes) == ({}, None, ())


def radiometric() -> NDArray[np.uint16]:
    """Counts of a scene with a warm spot, from 6840 to 7300."""
    rows, columns = np.mgrid[:161, :201]
    counts = 6850 + 100 * rows / 161 + 10 * np.sin(columns / 9) * np.cos(rows / 13)
    counts += 350 * np.exp(-(((columns - 150) / 8) ** 2) - ((rows - 80) / 20) ** 2)
    return np.rint(counts).astype(np.uint16)


@pytest.mark.parametrize("kind", ["counts", "celsius", "ct", "12 bits"])
def test_a_narrow_range_beside_a_wide_one_is_stretched(kind: str) -> None:
    counts = radiometric()
    whole = np.rint((counts - counts.min()) / np.ptp(counts) * 65535).astype(np.uint16)
    narrow = {
        "counts": counts,
        "celsius": counts * np.float32(0.04) - np.float32(273.15),
        "ct": (32768 + (counts - 6850) * 3).astype(np.uint16),
        "12 bits": ((counts - counts.min()) * 8).astype(np.uint16),
    }[kind]
    dark = from_array(PHOTO // 4 + 40)
    fuser = Fuser(precision="float32", align="off")
    for first in (True, False):
        pictures = [from_array(narrow), dark] if first else [dark, from_array(narrow)]
        seen = scene(*pictures)
        name = f"{0 if first else 1}.tif"
        low, high = seen.ranges[name]
        assert len(seen.ranges) == 1
        assert (low, high) == pytest.approx(
            (float(narrow.min()), float(narrow.max())), abs=0.02 * float(np.ptp(narrow))
        )
        assert any(note.startswith(f"{name}: values from") and "stretched" in note for note in seen.notes)
        assert seen.form.levels is None
        fused = fuser.fuse(pictures)
        expected = fuser.fuse([from_array(whole), dark] if first else [dark, from_array(whole)])
        np.testing.assert_allclose(fused.pixels, expected.pixels, atol=0.02)


def stretched(narrow: NDArray[Any], other: NDArray[Any] | None = None) -> tuple[float, float]:
    """The range that a source gets beside a photograph, or something else."""
    return scene(from_array(narrow), from_array(PHOTO // 4 + 40 if other is None else other)).ranges["0.tif"]


def test_half_of_the_range_far_from_black_is_narrow() -> None:
    counts = (40000 + (radiometric().astype(np.int32) - 6840) * 43).astype(np.uint16)
    assert stretched(counts) == pytest.approx((counts.min(), counts.max()), abs=400)


@pytest.mark.parametrize("kind", ["columns", "border", "kelvin"])
def test_places_of_nothing_do_not_set_the_range(kind: str) -> None:
    counts = radiometric()
    if kind == "columns":
        counts[:, 3::70] = 0
    else:
        counts[:, :4] = 0
    assert stretched(counts * np.float32(0.04) if kind == "kelvin" else counts) == pytest.approx(
        (274, 292) if kind == "kelvin" else (6840, 7300), rel=0.01
    )


@pytest.mark.parametrize("kind", ["degrees", "counts", "a tenth", "at half"])
def test_floats_of_a_narrow_range_are_stretched(kind: str) -> None:
    counts = radiometric().astype(np.float32)
    share = (counts - counts.min()) / np.ptp(counts)
    narrow = {
        "degrees": np.rint(15 + 20 * share),
        "counts": counts,
        "a tenth": share / 10,
        "at half": 0.4 + share / 20,
    }
    assert stretched(narrow[kind]) == pytest.approx((narrow[kind].min(), narrow[kind].max()), rel=0.05, abs=0.01)


def test_degrees_are_no_light_whatever_the_profile_says() -> None:
    degrees = radiometric() * np.float32(0.04) - np.float32(258)
    picture = replace(from_array(degrees), icc=linear_profile(grey=True))
    seen = scene(picture, from_array(PHOTO))
    assert seen.ranges["0.tif"] == pytest.approx((degrees.min(), degrees.max()), abs=0.1)
    expected = scene(from_array(degrees), from_array(PHOTO))
    np.testing.assert_array_equal(seen.frames[0].open().pixels, expected.frames[0].open().pixels)


@pytest.mark.parametrize("heat", [(6800, 7300), (500, 900)])
def test_heat_beside_few_bits_is_stretched_by_itself(heat: tuple[int, int]) -> None:
    share = (radiometric().astype(np.float32) - 6840) / 460
    counts = np.rint(heat[0] + np.clip(share, 0, 1) * (heat[1] - heat[0])).astype(np.uint16)
    seen = scene(from_array((PHOTO // 2).astype(np.uint16) * 16), from_array(counts))
    assert seen.form.levels is None
    assert seen.ranges["0.tif"] == (0, 4095)
    assert seen.ranges["1.tif"] == pytest.approx(heat, rel=0.1)


@pytest.mark.parametrize("white", [4095, 65535])
def test_exposures_of_little_contrast_keep_their_steps(white: int) -> None:
    grey = 0.3 + PHOTO[..., 1] / 255 * 0.2
    bracket = [np.rint(np.clip(grey * gain, 0, 1) * white).astype(np.uint16) for gain in (0.3, 1, 1.9)]
    seen = scene(*map(from_array, bracket))
    assert len(set(seen.ranges.values())) == 1
    assert seen.form.levels is not None


@pytest.mark.parametrize("offset", [0, 20])
def test_frames_of_one_narrow_range_give_values_of_that_range(offset: float) -> None:
    counts = radiometric()
    degrees = counts * np.float32(0.04) - np.float32(273.15 - offset)
    for samples in (counts, degrees):
        blurred = samples.copy()
        blurred[:80] = (blurred[:80].astype(np.float64) // 20 * 20).astype(samples.dtype)
        fused = Fuser(align="off").fuse([from_array(samples), from_array(blurred)])
        assert fused.depth == samples.dtype
        assert np.abs(fused.samples[..., 0].astype(float) - samples).mean() < 0.1 * np.ptp(samples)


def test_a_speck_does_not_set_the_range() -> None:
    counts = radiometric()
    counts[3, 4] = 60000
    low, high = scene(from_array(counts), from_array(PHOTO)).ranges["0.tif"]
    assert (low, high) == pytest.approx((6840, 7300), abs=100)


def test_floats_of_whole_numbers_are_eight_or_sixteen_bits() -> None:
    for scale, top in ((1, 255), (257, 65535)):
        seen = scene(from_array(PHOTO.astype(np.float32) * scale), from_array(PHOTO.astype(np.float32) * scale // 2))
        assert seen.form.levels == Levels(0, top)
        fused = Fuser(align="off").fuse([PHOTO.astype(np.float32) * scale] * 2)
        np.testing.assert_allclose(fused, PHOTO.astype(np.float32) * scale, atol=0.01 * top)


def test_floats_a_rounding_outside_are_clipped_with_a_note() -> None:
    floats = PHOTO.astype(np.float32) / 255
    floats[0, 0], floats[0, 1] = 1.0000001, -1e-8
    seen = scene(from_array(floats), from_array(PHOTO))
    assert "0.tif: 6 values outside [0, 1] clipped, from -1e-08 to 1" in seen.notes
    assert seen.ranges == {}


def light(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    share = pixels.astype(np.float32) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4).astype(np.float32)


@pytest.mark.parametrize("kind", ["16-bit", "float"])
def test_light_is_fused_as_the_eye_sees_it_and_given_back_as_light(kind: str) -> None:
    linear = imagecodecs.cms_profile(
        "rgb", whitepoint=(0.3127, 0.329, 1), primaries=(0.64, 0.33, 1, 0.3, 0.6, 1, 0.15, 0.06, 1), gamma=1.0
    )

    def of(samples: NDArray[np.float32]) -> Picture:
        deep = np.rint(samples * 65535).astype(np.uint16) if kind == "16-bit" else samples
        return replace(from_array(deep), icc=linear)

    bracket = [np.clip(light(PHOTO) * gain, 0, 1) for gain in (0.1, 0.5, 3)]
    eyes = [np.where(each <= 0.0031308, each * 12.92, 1.055 * each ** (1 / 2.4) - 0.055) for each in bracket]
    fuser = Fuser(precision="float32", align="off")
    fused = fuser.fuse([of(each) for each in bracket])
    expected = fuser.fuse([from_array(each.astype(np.float32)) for each in eyes])
    assert fused.icc == linear
    np.testing.assert_allclose(fused.pixels, expected.pixels, atol=0.004)
    assert "returned as light" in scene(*(of(each) for each in bracket)).notes[-1]


def test_light_above_white_keeps_its_values() -> None:
    scene_light = light(PHOTO) * 20
    bracket = [from_array(scene_light), from_array(np.minimum(scene_light, 2))]
    seen = scene(*bracket)
    assert seen.form.levels == Levels(0, scene_light.max(), 1.0)
    assert is_linear(seen.form.icc)
    fused = Fuser(precision="float32", align="off").fuse([bracket[0], bracket[0]])
    np.testing.assert_allclose(fused.samples, scene_light, rtol=0.01, atol=1e-4)


def test_faint_colour_of_deep_shade_is_kept() -> None:
    shade = np.full((64, 64, 3), 20000, np.uint16)
    shade[..., 1] += np.uint16(150)
    shade[:, :, 0] += np.arange(64, dtype=np.uint16)
    fused = Fuser(align="off").fuse([from_array(shade), from_array(shade + np.uint16(100))])
    assert (fused.samples[..., 1].astype(int) - fused.samples[..., 2]).min() > 100


def test_a_grey_first_source_of_other_tones_is_brought_to_those_of_colours() -> None:
    grey = replace(
        from_array(PHOTO[..., 1]), icc=imagecodecs.cms_profile("gray", whitepoint=(0.3127, 0.329, 1.0), gamma=1.0)
    )
    seen = scene(grey, from_array(PHOTO))
    assert seen.form.icc is None
    assert "0.tif: tones converted to sRGB" in seen.notes


def test_colours_that_are_no_temperature_are_left() -> None:
    hot, visible = inferno(PHOTO.mean(2).astype(np.uint8)), from_array(PHOTO)
    frames = [Frame("0.tif", lambda: hot, true_colours=True), Frame.of("1.tif", visible)]
    assert [each.colourless for each in Scene(frames).statistics] == [False, False]


def test_a_thermal_frame_with_few_dark_places_may_show_warmth_dark() -> None:
    rows, columns = np.mgrid[:160, :200]
    warm = 0.2 + 0.05 * np.sin(columns / 9) + 0.7 * np.exp(-(((columns - 90) / 12) ** 2) - ((rows - 70) / 20) ** 2)
    thermal = np.rint(warm * 255).astype(np.uint8)
    visible = from_array(np.ascontiguousarray(PHOTO[:160, :200]))
    note = "1.tif: few places are much darker than the rest"
    told = scene(visible, from_array(255 - thermal)).notes
    assert any(each.startswith(note) and "--black-hot 2" in each for each in told)
    for frame in (Frame.of("1.tif", from_array(thermal)), Frame("1.tif", lambda: from_array(255 - thermal), True)):
        seen = Scene([Frame.of("0.tif", visible), frame])
        assert not any(each.startswith(note) for each in seen.notes)


def edged(samples: NDArray[np.generic], fill: int) -> Picture:
    """A picture whose left places are no part of it, and hold something else."""
    framed = samples.copy()
    framed[:, :24] = fill
    alpha = np.full((*framed.shape[:2], 1), 255, np.uint8)
    alpha[:, :24] = 0
    return replace(from_array(framed), alpha=alpha)


def test_places_that_are_no_part_of_a_picture_do_not_set_its_range() -> None:
    counts = PHOTO[..., 0].astype(np.uint16) + 6800
    assert used(edged(counts, 0)).levels == used(from_array(counts)).levels
    floats = PHOTO[..., 0].astype(np.float32) / 10 + 20.5
    assert used(edged(floats, -9999)).levels == used(from_array(floats)).levels
    deep = PHOTO.astype(np.uint16) << 4
    assert used(edged(deep, 65535)).levels == Levels(0, 4095)


def test_places_that_are_no_part_of_a_picture_have_no_colour() -> None:
    grey = np.repeat(PHOTO[..., :1], 3, axis=2)
    marked = grey.copy()
    marked[:, :24] = (255, 0, 255)
    assert measure(replace(edged(grey, 0), samples=marked)).colourless
    assert not measure(from_array(marked)).colourless


def test_places_that_are_no_part_of_a_picture_do_not_darken_it() -> None:
    whole, framed = measure(from_array(PHOTO)), measure(edged(PHOTO, 0))
    assert framed.brightness == pytest.approx(whole.brightness, abs=0.05)
    thermal = edged(np.tile(np.arange(201, dtype=np.uint8), (161, 1)), 0)
    assert not [note for note in scene(thermal, from_array(PHOTO)).notes if "black-hot" in note]


def test_pairs_without_colour_to_fuse_are_one_plane() -> None:
    rng = np.random.default_rng(0)
    grey, other = (from_array(rng.integers(0, 255, (24, 32), np.uint8)) for _ in range(2))
    coloured, too = (from_array(rng.integers(0, 255, (24, 32, 3), np.uint8)) for _ in range(2))
    everything = slice(0, 24), slice(0, 32)

    def planes(*pictures: Picture) -> set[int]:
        scene = Scene([Frame.of(str(number), each) for number, each in enumerate(pictures)])
        return {source.pixels(*everything).shape[1] for source in scene.sources()}

    assert planes(grey, other) == {1}
    assert planes(grey, coloured) == {1}
    assert planes(coloured, too) == {3}


def test_floats_beside_whole_numbers_have_their_scale() -> None:
    numbers = np.kron(np.random.default_rng(0).integers(20, 230, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.float32)
    darker = 0.5 * numbers + np.float32(0.25)
    of_both = scene(from_array(numbers), from_array(darker))
    assert [(each.open().levels, each.open().icc) for each in of_both.frames] == [(Levels(0, 255), None)] * 2
    assert "all sources are whole numbers from 0 to 255" in " ".join(of_both.notes)
    for whole, scale in ((numbers.astype(np.uint8), 1), (numbers.astype(np.uint16) * 257, 257)):
        of_both = scene(from_array(whole), from_array(scale * darker))
        assert [each.open().levels for each in of_both.frames] == [None, Levels(0, 255 * scale)]
        assert not any("light" in note for note in of_both.notes)
        of_light = scene(from_array(whole), replace(from_array(scale * darker), icc=linear_profile()))
        assert of_light.frames[1].open().levels == Levels(0, float((scale * darker).max()), 1.0)
