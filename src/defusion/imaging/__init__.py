"""Picture files and colour. Depth, ICC profile, EXIF and orientation stay with the pixels."""

from __future__ import annotations

from defusion.imaging.colour import luminance, with_luminance
from defusion.imaging.folders import check_folder, in_folder, make_folder
from defusion.imaging.palettes import PALETTES
from defusion.imaging.picture import Picture, from_array, to_array
from defusion.imaging.profile import in_profile_of
from defusion.imaging.read import from_pillow, read, stack_in
from defusion.imaging.thermal import as_temperature, distance_from_palette, in_palette, recognised_palette
from defusion.imaging.write import PictureWriter, check_output, open_for, open_output, write, write_together

__all__ = [
    "PALETTES",
    "Picture",
    "PictureWriter",
    "as_temperature",
    "check_folder",
    "check_output",
    "distance_from_palette",
    "from_array",
    "from_pillow",
    "in_folder",
    "in_palette",
    "in_profile_of",
    "luminance",
    "make_folder",
    "open_for",
    "open_output",
    "read",
    "recognised_palette",
    "stack_in",
    "to_array",
    "with_luminance",
    "write",
    "write_together",
]
