"""False colour: recognised through JPEG and captions, converted to temperature, and never seen in photographs."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image
from skimage import data, filters

from defusion.errors import ImageError
from defusion.imaging import PALETTES, Picture, as_temperature, from_array, read, recognised_palette
from defusion.imaging.palettes import line_of
from defusion.imaging.thermal import thermal_luminance

COLOUR_PHOTOGRAPHS = {name: getattr(data, name)() for name in ("astronaut", "cat", "coffee", "rocket")}


def heat() -> np.ndarray:
    """Temperatures as a camera sees them: warm and cold things, soft edges, a little noise."""
    rng = np.random.default_rng(0)
    plane = filters.gaussian(data.camera()[::2, ::2].astype(np.float32) / 255, 1.5)
    plane += rng.normal(0, 0.01, plane.shape)
    return np.clip((plane - plane.min()) / np.ptp(plane), 0, 1).astype(np.float32)


def painted(plane: np.ndarray, palette: str) -> np.ndarray:
    return 255 * line_of(palette).colours(np.asarray(plane, np.float32))


def as_jpeg(pixels: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_temperature_comes_back(palette, dtype):
    plane = heat()
    full = np.iinfo(dtype).max
    picture = from_array(np.rint(painted(plane, palette) * (full / 255)).astype(dtype))
    assert recognised_palette(picture) == palette
    back = thermal_luminance(picture.pixels, palette)
    assert (back.shape, back.dtype) == ((*plane.shape, 1), np.float32)
    assert np.abs(back[..., 0] - plane).max() < (0.01 if dtype is np.uint8 else 1e-3)


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("low", [0.0, 0.35])
def test_jpeg_and_captions_do_not_hide_a_palette(palette, low):
    plane = low + heat() * 0.6
    pixels = painted(plane, palette).round().astype(np.uint8)
    pixels[:20, :60] = 255  # a name
    pixels[60:200, 250:] = 30  # a scale
    picture = from_array(as_jpeg(pixels))
    assert recognised_palette(picture) == palette
    back = thermal_luminance(picture.pixels, palette)[..., 0]
    assert np.abs(back - plane)[20:, :250].mean() < 0.02


def test_every_temperature_has_its_place():
    for palette in PALETTES:
        ramp = np.linspace(0, 1, 1001)
        back = thermal_luminance(painted(ramp[np.newaxis], palette).astype(np.float32) / 255, palette)
        np.testing.assert_allclose(back[0, :, 0], ramp, atol=1e-4)


@pytest.mark.parametrize(
    ("map_name", "palette"), [("inferno", "inferno"), ("hot", "lava"), ("jet", "jet"), ("turbo", "turbo")]
)
def test_palettes_of_others_are_known_by_kinship(map_name, palette):
    plane = heat()
    picture = from_array(mpl.colormaps[map_name](plane, bytes=True)[..., :3])
    assert recognised_palette(picture) == palette
    back = thermal_luminance(picture.pixels, palette)[..., 0]
    assert np.corrcoef(back.ravel(), plane.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("name", COLOUR_PHOTOGRAPHS)
@pytest.mark.parametrize("exposure", [0.05, 0.3, 1.0, 3.0])
def test_photographs_are_never_thermal(name, exposure):
    pixels = np.clip(COLOUR_PHOTOGRAPHS[name] * exposure, 0, 255).astype(np.uint8)
    assert recognised_palette(from_array(pixels)) is None


@pytest.mark.parametrize("tint", [(1, 1, 1), (1, 0.8, 0.6), (0.5, 0.6, 1), (1, 0, 0)])
def test_toned_grey_is_not_thermal(tint):
    assert recognised_palette(from_array((heat()[..., np.newaxis] * tint).astype(np.float32))) is None
    assert recognised_palette(from_array(heat())) is None


def test_one_colour_is_not_thermal():
    for palette in PALETTES:
        plane = np.full((40, 60), 0.4)
        assert recognised_palette(from_array(painted(plane, palette).round().astype(np.uint8))) is None


def test_an_unknown_palette_is_named_with_those_that_are_known():
    with pytest.raises(ImageError, match="no palette 'heat' is known, expected one of iron, inferno"):
        thermal_luminance(np.zeros((2, 2, 3), np.float32), "heat")


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 2)])
def test_tiny_pictures_are_looked_at(shape):
    assert recognised_palette(Picture(np.zeros((*shape, 3), np.uint8))) is None


def test_no_photograph_of_the_benchmarks_is_thermal(shared: Path):
    folder = shared / "data" / "bench"
    if not folder.is_dir():
        pytest.skip(f"no photographs: {folder} is absent")
    names = [*folder.glob("vifb/*/vis*"), *folder.glob("mefb/*/*"), *sorted(folder.glob("roadscene/*/vis*"))[::4]]
    seen = {str(name): recognised_palette(read(name)) for name in names}
    assert len(seen) > 100
    assert {name: palette for name, palette in seen.items() if palette} == {}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_picture_led_back_to_temperature_is_grey_and_as_deep_as_it_was(dtype: type[np.generic]) -> None:
    full = 1 if dtype is np.float32 else np.iinfo(dtype).max
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[np.newaxis].repeat(8, 0)
    colours = line_of("lava").colours(ramp)
    picture = from_array((colours * full).astype(dtype))
    back = as_temperature(picture, "lava", "b.png")
    assert (back.grey, back.depth) == (True, picture.depth)
    assert back.notes == ("b.png: false colour of palette lava converted back to temperature",)
    np.testing.assert_allclose(back.region(slice(0, 8), slice(5, 50))[..., 0], ramp[:, 5:50], atol=0.02)
    np.testing.assert_array_equal(np.asarray(back.samples)[2:5, 8:40], back.samples[2:5, 8:40])


def activity() -> np.ndarray:
    """What a PET slice shows, on black."""
    rows, columns = np.mgrid[:256, :256]
    inside = np.hypot((columns - 128) / 58, (rows - 130) / 72)
    shown = np.clip(1.05 - inside, 0, 1) * 0.35
    for across, down, size, much in (
        (95, 190, 26, 0.75),
        (160, 190, 28, 0.8),
        (85, 120, 16, 0.3),
        (170, 120, 16, 0.35),
    ):
        at = np.exp(-((columns - across) ** 2 + (rows - down) ** 2) / (2 * size**2))
        shown = shown + much * at * (inside < 1)
    return np.clip(shown, 0, 1)


@pytest.mark.parametrize("far", [(255, 20, 110), (255, 255, 255)])
def test_the_colours_of_pet_are_no_thermal_palette(far):
    line = np.array(
        [(0, 0, 0), (20, 40, 120), (60, 140, 230), (120, 230, 180), (250, 240, 40), (255, 150, 0), (255, 20, 0), far]
    )
    at = np.linspace(0, 1, len(line))
    pixels = np.stack([np.interp(activity(), at, line[:, channel]) for channel in range(3)], axis=2)
    assert recognised_palette(from_array(pixels.round().astype(np.uint8))) is None


def person() -> np.ndarray:
    rows, columns = np.mgrid[:120, :160]
    warm = 0.15 + 0.25 * rows / 120 + 0.1 * np.sin(columns / 9) * np.cos(rows / 11)
    warm = warm + 0.5 * np.exp(-(((columns - 110) / 9) ** 2) - ((rows - 70) / 22) ** 2)
    return np.rint(
        np.clip(warm + 0.35 * np.exp(-(((columns - 40) / 16) ** 2) - ((rows - 85) / 9) ** 2), 0, 1) * 255
    ).astype(np.uint8)


#: OpenCV's maps, apart from the two whose ends have the same colour, so that hot and cold cannot be told.
MAPS = [
    *("AUTUMN", "BONE", "CIVIDIS", "COOL", "DEEPGREEN", "HOT", "HSV", "INFERNO", "JET", "MAGMA", "OCEAN", "PARULA"),
    *("PINK", "PLASMA", "RAINBOW", "SPRING", "SUMMER", "TURBO", "VIRIDIS", "WINTER"),
]


@pytest.mark.parametrize("name", MAPS)
def test_the_maps_of_opencv_come_back(name):
    import cv2

    heat_of_person = person()
    pixels = cv2.applyColorMap(heat_of_person, getattr(cv2, f"COLORMAP_{name}"))[..., ::-1]
    picture = from_array(np.ascontiguousarray(pixels))
    found = recognised_palette(picture)
    assert found == {"RAINBOW": "opencv-rainbow", "HOT": "lava"}.get(name, name.lower())
    back = np.asarray(as_temperature(picture, found).samples)[..., 0].astype(int)
    assert abs(int(back[70, 110]) - int(heat_of_person[70, 110])) < 8
    assert np.abs(back - heat_of_person).mean() < 4


def test_captions_are_no_temperature():
    import cv2

    pixels = np.ascontiguousarray(cv2.applyColorMap(person(), cv2.COLORMAP_JET)[..., ::-1])
    plain = as_temperature(from_array(pixels), "jet", "a.png")
    assert plain.alpha is None and "captions" not in plain.notes[0]
    pixels[4:20, 4:64] = 0
    pixels[6:9, 8:40] = 255
    picture = as_temperature(from_array(pixels), "jet", "a.png")
    assert picture.notes[0].endswith("captions and marks in it count for nothing")
    confidence = picture.confidence(slice(None), slice(None))
    assert not confidence[4:20, 4:64].any() and confidence[20:].all()
    assert not picture.samples[10:20, 4:64].any(), "a black caption is not white"
