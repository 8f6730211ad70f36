"""What type checkers see of the API. `make check` runs mypy on this file; nothing in it runs.

`type: ignore` marks what has to be an error: mypy reports one that ignores nothing.
"""

from pathlib import Path
from typing import assert_type

import numpy as np

import defusion
from defusion import Aligned, FusedFile, Fuser, FusionWarning, Maps, Options, Parts, Picture, Reading
from defusion.batch.run import SceneResult


def right(fuser: Fuser, picture: Picture, maps: Maps) -> None:
    """Calls as the pages show them."""
    files: list[str | Path] = ["near.tif", Path("far.tif")]
    assert_type(defusion.fuse_files(files, "sharp.tif", align="off"), FusedFile)
    assert_type(fuser.fuse_files(files, Path("sharp.tif"), by_map=maps).notes, tuple[str, ...])
    assert_type(defusion.align([np.zeros((2, 3)), "far.tif"], crop=False), Aligned)
    assert_type(defusion.decompose(picture, picture), Parts)
    assert_type(defusion.read("near.tif"), Picture)
    assert_type(picture.region(slice(2), slice(None)).dtype, np.dtype[np.float32])
    assert_type(Options(task="focus").changed(align="off"), Options)
    assert_type(Fuser(Options(), precision="float32").options, Options)
    defusion.fuse(iter([picture, picture]), Options(), reading=Reading(pages="all"), maps=True, task="focus")
    for result in defusion.batch("ROOT", "OUT", workers=2):
        assert_type(result, SceneResult)
    assert issubclass(FusionWarning, UserWarning)


def wrong(picture: Picture) -> None:
    """Calls with a slip that a type checker finds."""
    defusion.fuse([picture, picture], "off")  # type: ignore[arg-type]
    defusion.fuse([picture, picture], aling="off")  # type: ignore[call-arg]
    defusion.fuse_files("near.tif", "sharp.tif", jpeg_quality="high")  # type: ignore[arg-type]
    Fuser().fuse([picture, picture], precision="float32")  # type: ignore[call-arg]
    Options(align=2)  # type: ignore[arg-type]
    picture.depth = "uint8"  # type: ignore[misc]
