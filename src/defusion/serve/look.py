"""Prepares pictures for the screen: facts, small copies, and the levels from which tiles are cut."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defusion.imaging import Picture, in_profile_of, luminance, read
from defusion.imaging.exif import PREFIX
from defusion.imaging.levels import used
from defusion.imaging.samples import bands, quantised
from defusion.system.files import beside

THUMBNAIL_PX = 320
PREVIEW_PX = 1600
TILE_PX = 512

_QUALITY = 90

#: EXIF tags.
_EXPOSURE_SECONDS, _F_NUMBER, _ISO, _DETAILS = 33434, 33437, 34855, 34665

Samples = NDArray[np.uint8]


def look(source: Path, thumbnail: Path, preview: Path) -> dict[str, Any]:
    """Reads a picture once, writes small copies of it, and returns facts about it.

    Returns:
        Width, height, depth, `grey`, `light` (mean luminance in [0, 1]), and, if the camera wrote it, `exposure`
        (stops of light above 1 s at f/1 and ISO 100).

    Raises:
        ImageError: The picture cannot be read.
    """
    from PIL import Image

    picture = read(source)
    factor = max(1, max(picture.height, picture.width) // PREVIEW_PX)
    small = Image.fromarray(np.concatenate(list(_reduced(_on_screen(picture), factor))))
    small.thumbnail((PREVIEW_PX, PREVIEW_PX))
    _save(small, preview)
    light = float(luminance(np.asarray(small, np.float32) / np.float32(255)).mean())
    grey = picture.grey or not np.ptp(np.asarray(small).astype(np.int16), axis=2).max() > 2
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    _save(small, thumbnail)
    return {
        "width": picture.width,
        "height": picture.height,
        "depth": picture.depth,
        "grey": bool(grey),
        "light": round(light, 4),
        "exposure": _exposure(picture.exif),
    }


def spread(source: Path, folder: Path) -> dict[str, Any]:
    """Writes a picture as 8-bit arrays [h, w, 3]: at full size, and halved until it fits in one tile.

    The arrays are mapped into memory when tiles are cut, so a tile reads only its own samples.

    Returns:
        Width, height, `tile` (side of a tile) and `levels` (number of arrays; the last has full size).

    Raises:
        ImageError: The picture cannot be read.
    """
    picture = _on_screen(read(source))
    sizes = [(picture.height, picture.width)]
    while max(sizes[-1]) > TILE_PX:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    with tempfile.TemporaryDirectory(dir=folder.parent) as hidden:
        part = Path(hidden) / folder.name
        part.mkdir()
        larger: Samples | None = None
        for level, (height, width) in zip(reversed(range(len(sizes))), sizes, strict=True):
            samples = np.lib.format.open_memmap(part / f"{level}.npy", "w+", np.uint8, (height, width, 3))
            if larger is None:
                for rows in bands(height, width):
                    samples[rows] = _shown(picture, rows, slice(None))
            else:
                for rows in bands(height, width):
                    samples[rows] = _halved(larger[2 * rows.start : 2 * rows.stop])
            larger = samples
        part.replace(folder)
    return {"width": sizes[0][1], "height": sizes[0][0], "tile": TILE_PX, "levels": len(sizes)}


def tile(folder: Path, level: int, column: int, row: int) -> bytes | None:
    """Returns a tile as a JPEG; None if there is no such tile."""
    from PIL import Image

    file = folder / f"{level}.npy"
    if not file.exists():
        return None
    samples = np.load(file, mmap_mode="r")
    part = samples[row * TILE_PX : (row + 1) * TILE_PX, column * TILE_PX : (column + 1) * TILE_PX]
    if not part.size:
        return None
    encoded = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(part)).save(encoded, "JPEG", quality=_QUALITY, subsampling=0)
    return encoded.getvalue()


def _on_screen(picture: Picture) -> Picture:
    """Converts a picture to sRGB, and counts, degrees or light to what a screen shows.

    A colour picture that uses only few of its values may be the dark frame of a bracket, so it stays dark.
    """
    found = used(picture)
    if found.kind != "bits" or found.grey:
        picture = replace(picture, levels=found.levels)
    return in_profile_of(picture, Picture(np.zeros((1, 1, 1 if picture.grey else 3), np.uint8)))


def _shown(picture: Picture, rows: slice, columns: slice) -> Samples:
    """Returns the 8-bit samples of a region, [h, w, C]."""
    samples: Samples = quantised(np.clip(picture.region(rows, columns), 0, 1), np.uint8)
    return samples


def _reduced(picture: Picture, factor: int) -> Iterator[Samples]:
    """Yields a picture in 8 bits, [h, w, 3], in rows. Each pixel is the mean of a full square with a side of
    `factor`.
    """
    high, wide = min(factor, picture.height), min(factor, picture.width)
    height, width = picture.height // high, picture.width // wide
    for rows in bands(height, width * high * wide):
        part = _shown(picture, slice(rows.start * high, rows.stop * high), slice(width * wide))
        squares = part.reshape(rows.stop - rows.start, high, width, wide, part.shape[2])
        mean = squares.mean((1, 3), dtype=np.float32).round().astype(np.uint8)
        yield np.broadcast_to(mean, (*mean.shape[:2], 3))


def _halved(samples: Samples) -> Samples:
    """Returns means of squares of 2x2 pixels. An odd last row or column is repeated."""
    odd = [(0, length % 2) for length in samples.shape[:2]]
    even = np.pad(samples, (*odd, (0, 0)), mode="edge").astype(np.uint16)
    return ((even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2] + 2) // 4).astype(np.uint8)


def _save(image: Any, file: Path) -> None:
    with beside(file) as part:
        image.save(part, "JPEG", quality=_QUALITY)


def _exposure(block: bytes | None) -> float | None:
    """Returns the stops of light that the camera recorded in its EXIF block."""
    from PIL import Image

    exif = Image.Exif()
    try:
        exif.load(PREFIX + (block or b""))
        details = exif.get_ifd(_DETAILS)
        seconds, f_number, iso = (float(details.get(tag, 0)) for tag in (_EXPOSURE_SECONDS, _F_NUMBER, _ISO))
        if seconds <= 0:
            return None
        return round(float(np.log2(seconds / max(f_number, 1.0) ** 2 * (iso or 100.0) / 100.0)), 2)
    except Exception:  # Pillow raises many kinds of errors for damaged blocks
        return None
