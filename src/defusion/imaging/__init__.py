"""Files and colour: depth, ICC profile, EXIF and orientation travel with the pixels."""

from __future__ import annotations

from defusion.imaging.colour import luminance, with_luminance
from defusion.imaging.picture import Picture, check_sources, from_array, to_array
from defusion.imaging.profile import in_profile_of
from defusion.imaging.read import read
from defusion.imaging.thermal import PALETTES, recognised_palette, thermal_luminance
from defusion.imaging.write import PictureWriter, check_output, make_folder, open_output, write

__all__ = [
    "PALETTES",
    "Picture",
    "PictureWriter",
    "check_output",
    "check_sources",
    "from_array",
    "in_profile_of",
    "luminance",
    "make_folder",
    "open_output",
    "read",
    "recognised_palette",
    "thermal_luminance",
    "to_array",
    "with_luminance",
    "write",
]
