"""Parts of planes: of a tile, only its core and what lies near it is decided at the levels that hold most pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: If only a part of the result is needed, the levels that hold most pixels are decided on it and so many pixels
#: around it: as far as the state at the finest level that has one, and all that is read from it, can see.
NEAR_PX = 24

#: Rows and columns of a part of the sources.
Region = tuple[slice, slice]


def around(core: Region, sides: Sequence[int]) -> Region:
    """Returns a part and `NEAR_PX` around it, within planes whose sides are given."""
    rows, columns = (
        slice(max(each.start - NEAR_PX, 0), min(each.stop + NEAR_PX, side))
        for each, side in zip(core, sides, strict=True)
    )
    return rows, columns


def moved(inner: Region, outer: Region) -> Region:
    """Returns where a part lies within another that holds it."""
    rows, columns = (
        slice(each.start - of.start, each.stop - of.start) for each, of in zip(inner, outer, strict=True)
    )
    return rows, columns


def part_of(plane: Any, where: Region | None, number: int) -> Any:
    """Returns a part of a plane of level `number`; all of it if `where` is None. `where` is in pixels of level 0."""
    if plane is None or where is None:
        return plane
    rows, columns = (slice(each.start >> number, each.stop >> number) for each in where)
    return plane[..., rows, columns]
