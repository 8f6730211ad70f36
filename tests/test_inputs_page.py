"""The page of inputs: what its table answers is what happens."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage import data

from defusion import ImageError, Reading
from defusion.api.sources import frames_of
from defusion.imaging import PALETTES, Picture, from_array, read, stack_in
from defusion.imaging.colour_tags import linear_profile
from defusion.scene.frame import Frame
from defusion.scene.scene import Scene

PAGE = Path(__file__).parents[1] / "docs" / "inputs.md"
PHOTO = np.ascontiguousarray(data.astronaut()[40:136, 100:244])
DEEP = PHOTO.astype(np.uint16) * 257


def rows() -> dict[str, str]:
    table = PAGE.read_text(encoding="utf-8").split("| input | answer |")[1].split("\n\n")[0]
    return dict(re.findall(r"^\| (.+?) \| (.+) \|$", table, re.MULTILINE))


def notes(*pictures: Picture) -> str:
    return " / ".join(Scene([Frame.of(f"{number}.tif", each) for number, each in enumerate(pictures)]).notes)


def tiff(folder: Path, *pages: np.ndarray, **options: object) -> Path:
    for number, page in enumerate(pages):
        tifffile.imwrite(folder / "a.tif", page, append=number > 0, **options)
    return folder / "a.tif"


def counts(folder: Path) -> bool:
    return "stretched to the whole range" in notes(from_array(PHOTO[..., 0] + np.uint16(6800)), from_array(PHOTO))


def narrow(folder: Path) -> bool:
    same = from_array(PHOTO[..., 0] + np.uint16(6800))
    return "so does the result" in notes(same, same)


def alpha(folder: Path) -> bool:
    mask = np.where(np.arange(144) < 9, 0, 255).astype(np.uint8)
    picture = from_array(np.dstack([PHOTO, np.broadcast_to(mask, PHOTO.shape[:2])]))
    return not picture.confidence(slice(None), slice(9)).any() and "alpha 0" in picture.notes[0]


def light(folder: Path) -> bool:
    return "returned as light" in notes(*[replace(from_array(DEEP), icc=linear_profile())] * 2)


def bright(folder: Path) -> bool:
    form = Scene([Frame.of("a", from_array(PHOTO.astype(np.float32) / 50))] * 2).form
    return form.levels is not None and form.levels.white == 1 and form.levels.high > 5


def pages(folder: Path) -> bool:
    return len(frames_of(tiff(folder, PHOTO, PHOTO, photometric="rgb", metadata=None))) == 2


def several_of_several(folder: Path) -> bool:
    path = tiff(folder, PHOTO, PHOTO, photometric="rgb", metadata=None)
    return len(frames_of([path, path])) == 2 and read(path).notes == ("a.tif: first of 2 pages used",)


def channels(folder: Path) -> bool:
    tifffile.imwrite(folder / "a.tif", np.zeros((3, 2, 8, 8), np.uint8), imagej=True, metadata={"axes": "ZCYX"})
    with pytest.raises(ImageError, match="not mixed"):
        frames_of(folder / "a.tif")
    return len(frames_of(folder / "a.tif", Reading(pages="c1"))) == 3


def animation(folder: Path) -> bool:
    frames = [Image.fromarray(PHOTO), Image.fromarray(PHOTO // 2)]
    frames[0].save(folder / "a.webp", save_all=True, append_images=frames[1:])
    return stack_in(folder / "a.webp").animated and len(frames_of(folder / "a.webp", Reading(pages="all"))) == 2


def thumbnail(folder: Path) -> bool:
    with tifffile.TiffWriter(folder / "a.tif") as file:
        file.write(PHOTO[::8, ::8], photometric="rgb", subifds=1, subfiletype=1, metadata=None)
        file.write(PHOTO, photometric="rgb", subfiletype=0, metadata=None)
    picture = read(folder / "a.tif")
    return picture.size_text == "144x96" and "inside its thumbnail" in picture.notes[0]


def rounding(folder: Path) -> bool:
    floats = PHOTO.astype(np.float32) / 255
    floats[0, 0] = 1.0000001
    return "outside [0, 1] clipped" in notes(from_array(floats), from_array(floats))


def whole_numbers(folder: Path) -> bool:
    return "whole numbers from 0 to 255" in notes(*[from_array(PHOTO.astype(np.float32))] * 2)


def beside_whole_numbers(folder: Path) -> bool:
    darker = from_array(PHOTO * np.float32(0.55))
    own = "1.tif: values from 0 to 255 stretched to the whole range"
    same = "all sources are whole numbers from 0 to 255"
    return own in notes(from_array(PHOTO), darker) and same in notes(from_array(PHOTO.astype(np.float32)), darker)


def measured(folder: Path) -> bool:
    degrees = 20 + np.broadcast_to(np.linspace(0, 9.5, 144, dtype=np.float32), (96, 144))
    return "1.tif: values from 20 to 29.5 stretched" in notes(from_array(PHOTO), from_array(degrees))


def few_bits(folder: Path) -> bool:
    return "use values from 0 to 4095" in notes(*[from_array(DEEP >> 4)] * 2)


def greys(folder: Path) -> bool:
    icc = imagecodecs.cms_profile("gray", whitepoint=(0.3127, 0.329, 1.0), gamma=1.0)
    return "1.tif: tones converted to sRGB" in notes(from_array(PHOTO), replace(from_array(PHOTO[..., 0]), icc=icc))


def palettes(folder: Path) -> bool:
    answer = rows()["a thermal picture in false colour"]
    return all(palette in answer for palette in PALETTES)


def fourth(folder: Path) -> bool:
    path = tiff(folder, np.dstack([PHOTO, PHOTO[..., 0]]), photometric="rgb", extrasamples=[0])
    return [frame.open().grey for frame in frames_of(path)] == [False, True]


def depths(folder: Path) -> bool:
    return Scene([Frame.of("a", from_array(PHOTO)), Frame.of("b", from_array(DEEP))]).form.depth == "uint16"


#: What shows that a row of the table holds, by how its input begins.
SHOWN: dict[str, Callable[[Path], bool]] = {
    "sources of different depth": depths,
    "10, 12 or 14 bits": few_bits,
    "a narrow range beside": counts,
    "sources that are all of one": narrow,
    "floats a rounding outside": rounding,
    "floats above 1": bright,
    "floats that are whole numbers": whole_numbers,
    "colour floats above 2, with fractions": beside_whole_numbers,
    "grey floats above 1": measured,
    "light: a linear profile": light,
    "grey profiles": greys,
    "a thumbnail before": thumbnail,
    "a thermal picture in false colour": palettes,
    "alpha": alpha,
    "several files of several pages": several_of_several,
    "one file of several pages": pages,
    "a microscope's stack": channels,
    "a fourth channel": fourth,
    "an animation": animation,
}

#: Rows that the named test shows.
ELSEWHERE = {
    "8 or 16 bits": "imaging/test_read.py",
    "grey and colour": "api/test_api.py",
    "ICC profile": "imaging/test_profile.py",
    "EXIF|resolution": "imaging/test_read.py|imaging/test_write.py",
    "PNG's gAMA": "imaging/test_colour_tags.py",
    "signed or 32-bit": "imaging/test_read.py",
    "captions and marks": "imaging/test_thermal.py",
    "PET, SPECT": "imaging/test_thermal.py",
    "a thermal picture in which": "scene/test_scene.py",
    "palette, 1-bit": "imaging/test_read.py",
    "the size of a pixel": "api/test_sources.py",
    "masked places": "api/test_sources.py",
    "XMP": "imaging/test_formats.py",
    "EXIF that turns": "api/test_sources.py",
    "a range, or heat": "api/test_sources.py",
    "colours of JPEG XL": "imaging/test_formats.py",
    "a pipe or device": "api/test_sources.py",
    "radiometric JPEG": "imaging/test_flir.py",
    "16-bit result": "imaging/test_write.py",
    "16-bit or float result": "imaging/test_formats.py",
    "float result": "imaging/test_write.py",
}


@pytest.mark.parametrize("begins", SHOWN)
def test_the_answer_is_what_happens(begins: str, tmp_path: Path) -> None:
    assert sum(each.startswith(begins) for each in rows()) >= 1, f"the table has no row of {begins}"
    assert SHOWN[begins](tmp_path)


def test_every_row_is_shown_by_a_test() -> None:
    known = (*SHOWN, *(begin for begins in ELSEWHERE for begin in begins.split("|")))
    assert not [each for each in rows() if not each.startswith(known)]
    for begins in ELSEWHERE:
        assert any(each.startswith(tuple(begins.split("|"))) for each in rows()), begins
    files = {file for named in ELSEWHERE.values() for file in named.split("|")}
    assert not [file for file in files if not (Path(__file__).parent / file).is_file()]
