"""Scenes: what is seen of the frames, and the form of what they fuse to."""

from __future__ import annotations

import weakref
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from defusion import Fuser, ImageError
from defusion.imaging import Picture, from_array
from defusion.scene import Frame, Scene
from defusion.task import glance

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
        assert any("1.tif: colours brought to" in note for note in seen.notes)
        fused = Fuser().fuse_pictures([first, second])
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
    assert [each.colourless for each in scene(hot, visible).glances] == [True, False]
    assert [each.colourless for each in scene(visible, hot).glances] == [False, True]
    assert [each.colourless for each in scene(hot, visible, palette="none").glances] == [False, False]
    assert [each.colourless for each in scene(hot, hot).glances] == [False, False]


def test_a_palette_that_is_named_goes_to_the_frame_nearest_to_it() -> None:
    heat = PHOTO.mean(2).astype(np.uint8)
    hot, visible = inferno(heat), from_array(PHOTO)
    for pictures, expected in [((hot, visible), [True, False]), ((visible, hot), [False, True])]:
        assert [each.colourless for each in scene(*pictures, palette="iron").glances] == expected


def test_a_palette_that_is_named_leaves_grey_frames_as_they_are() -> None:
    grey = from_array(PHOTO[..., 0])
    seen = scene(grey, grey, palette="iron")
    assert seen.notes == ("no source has colour, so none was led back from palette iron",)
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


@pytest.mark.parametrize(("level", "name"), [(0, "black"), (255, "white")])
def test_frames_that_show_nothing_are_left_out(level: int, name: str) -> None:
    blank, shown = from_array(np.full_like(PHOTO, level)), from_array(PHOTO)
    fuser = Fuser()
    fused = fuser.fusing([Frame.of("blank.tif", blank), Frame.of("shown.tif", shown)])
    assert f"blank.tif: left out, it is {name} all over" in fused.notes
    assert np.abs(fused.picture().samples.astype(int) - PHOTO).max() <= 1
    darker = from_array(PHOTO // 2)
    assert fuser.plan([shown, blank, darker]) == fuser.plan([shown, darker])
    assert fuser.plan([shown, darker]) == fuser.fusing([Frame.of("1", each) for each in (shown, blank, darker)]).plan
    assert np.array_equal(
        fuser.fuse_pictures([shown, blank, darker]).samples, fuser.fuse_pictures([shown, darker]).samples
    )
    assert fuser.fuse_pictures([blank, blank]).samples.min() == fuser.fuse_pictures([blank, blank]).samples.max()


def test_a_spot_in_a_large_black_frame_is_something() -> None:
    dark = np.zeros((1500, 1500, 3), np.uint8)
    spotted = dark.copy()
    spotted[700, 611] = 40
    assert glance(from_array(dark)).blank == "black all over"
    for picture in (from_array(spotted), from_array(255 - spotted)):
        assert glance(picture).blank is None


def test_twelve_bits_in_sixteen_are_told() -> None:
    deep = PHOTO.astype(np.uint16)
    for factor, told in ((16, True), (257, False)):
        seen = scene(from_array(deep * factor), from_array(deep * factor // 2))
        assert any("as 12-bit samples in 16-bit files are" in note for note in seen.notes) == told
