"""Files and colour: depth, ICC profile, EXIF and orientation travel with the pixels."""

from __future__ import annotations

from defusion.imaging.colour import luminance, with_luminance
from defusion.imaging.picture import Picture, check_sources, from_array, to_array
from defusion.imaging.read import read
from defusion.imaging.write import check_output, make_folder, write

__all__ = [
    "Picture",
    "check_output",
    "check_sources",
    "from_array",
    "luminance",
    "make_folder",
    "read",
    "to_array",
    "with_luminance",
    "write",
]
