"""What type checkers see of the API. `make check` runs mypy on this file; nothing in it runs.

`type: ignore` marks what has to be an error: mypy reports one that ignores nothing.
"""

from pathlib import Path
from typing import assert_type

import numpy as np
import torch
from PIL import Image

import defusion
from defusion import Aligned, FusedFile, Fuser, FusionWarning, Maps, Options, Parts, Picture, Reading
from defusion.api.sources import FusedArray
from defusion.batch.run import SceneResult


def right(fuser: Fuser, picture: Picture, maps: Maps) -> None:
    """Calls as the pages show them."""
    files: list[str | Path] = ["near.tif", Path("far.tif")]
    assert_type(defusion.fuse_files(files, "sharp.tif", align="off"), FusedFile)
    assert_type(fuser.fuse_files(files, Path("sharp.tif"), by_map=maps).notes, tuple[str, ...])
    assert_type(defusion.fuse_files(Path("stack.tif"), "sharp.tif"), FusedFile)
    assert_type(defusion.fuse(Path("stack.tif")), FusedArray)
    assert_type(defusion.align([np.zeros((2, 3)), "far.tif"], crop=False), Aligned)
    assert_type(defusion.decompose(picture, picture), Parts[Picture])
    assert_type(fuser.decompose("near.tif", np.zeros((2, 3))), Parts[FusedArray])
    assert_type(defusion.decompose(picture, "far.tif").unique_b.notes, tuple[str, ...])
    assert_type(fuser.decompose(Image.new("L", (2, 3)), Image.new("L", (2, 3))).common, Image.Image)
    assert_type(defusion.decompose(torch.zeros(3, 8, 8), torch.ones(3, 8, 8))[0], torch.Tensor)
    assert_type(defusion.read("near.tif"), Picture)
    assert_type(picture.region(slice(2), slice(None)).dtype, np.dtype[np.float32])
    assert_type(Options(task="focus").changed(align="off"), Options)
    assert_type(Fuser(Options(), precision="float32").options, Options)
    assert_type(defusion.fuse([np.zeros((2, 3)), np.zeros((2, 3))], task="focus").notes, tuple[str, ...])
    assert_type(fuser.fuse(files, maps=True).maps, Maps | None)
    assert_type(defusion.fuse(iter([picture, picture]), Options(), reading=Reading(pages="all")), Picture)
    assert_type(fuser.fuse([Image.new("L", (2, 3)), Image.new("L", (2, 3))]), Image.Image)
    assert_type(defusion.fuse([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)], align="off"), torch.Tensor)
    for result in defusion.batch("ROOT", "OUT", workers=2):
        assert_type(result, SceneResult)
    assert issubclass(FusionWarning, UserWarning)


def wrong(picture: Picture) -> None:
    """Calls with a slip that a type checker finds."""
    defusion.fuse([picture, picture], "off")  # type: ignore[call-overload]
    defusion.fuse([picture, picture], aling="off")  # type: ignore[call-overload]
    defusion.fuse_files("near.tif", "sharp.tif", jpeg_quality="high")  # type: ignore[arg-type]
    defusion.fuse([picture, 3])  # type: ignore[type-var]
    defusion.decompose(picture, 3)  # type: ignore[call-overload]
    _ = defusion.decompose(picture, picture).coarse  # type: ignore[attr-defined]
    Fuser().fuse([picture, picture], precision="float32")  # type: ignore[call-overload]
    Options(align=2)  # type: ignore[arg-type]
    picture.depth = "uint8"  # type: ignore[misc]
