"""False colours of thermal cameras and plotting libraries: each palette is a line through the colour cube."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.errors import ImageError

#: Colours of each palette from cold to hot, at even steps. Between them the line is straight. Those that are not of
#: cameras are the maps of OpenCV and matplotlib with that name: no colour of theirs is farther than 4 % of the cube's
#: side from the line.
_COLOURS = {
    # black, indigo, violet, magenta-red, orange, yellow, white
    "iron": "00000a 1c0074 68009c aa0e90 d83e3e f0740a fcac06 ffde46 fffff6",
    "inferno": "000004 1f0c48 550f6d 88226a ba3655 e35933 f98c0a f9c932 fcffa4",
    # blue, cyan, green, yellow, red
    "rainbow": "00008c 0014ff 0082ff 0ae8f0 5aff96 aaff50 faf000 ff8c00 fa1400 820000",
    # black, dark red, red, orange, yellow, white: "hot" of OpenCV and matplotlib
    "lava": "000000 140000 280000 3c0000 500000 640000 770000 8c0000 9f0000 b30000 c70000 db0000 f00000 ff0400 "
    "ff1800 ff2c00 ff4000 ff5400 ff6800 ff7c00 ff8f00 ffa300 ffb700 ffcb00 ffdf01 fff400 ffff0e ffff38 "
    "ffff5f ffff88 ffffaf ffffd7 ffffff",
    # deep blue, azure, pale blue, then ochre and yellow
    "arctic": "06045a 0a32c8 1482f4 78c8ec 96968c be8228 fac83c",
    # red, yellow, green, blue, violet
    "opencv-rainbow": "ff0000 ff8000 ffff00 00ff00 0000ff aa00ff",
    # all hues, from red to red; the last is slightly before red, to tell it from the first
    "hsv": "ff0000 ff5400 ffa800 faf700 a8ff00 54ff00 00ff00 00ff54 00ffa8 00f7fa 00a8ff 0054ff 0000ff 5400ff "
    "a800ff f700fa ff00a8 ff0054 ff0006",
    "jet": "000080 0000ff 0080ff 00ffff 80ff80 ffff00 ff8000 ff0000 800000",
    "turbo": "31123e 4140a5 476be6 4493ff 28bcee 14ddc3 2ef29a 6cfe62 a4fe39 ccee33 eed13b ffae36 fc8022 ed510e "
    "d33004 ad1601 7b0302",
    "magma": "000002 090821 1c1246 350f6c 51117d 691c81 822682 9c2e80 b6377a d04070 e75063 f5695b fc8760 fea570 "
    "fec387 fde0a1 fcfdbf",
    "plasma": "0f0788 320597 4c03a1 6600a8 7e02a8 9511a2 a92396 bc3587 cb4778 d9596a e66c5c f07f4f f89441 fdab33 "
    "fec327 f9dd25 f0f926",
    "viridis": "440155 48186b 472d7c 424086 3b528b 33638e 2c728e 26818e 20908d 1e9f88 26ae81 3dbc74 5cc963 81d44d "
    "abdc32 d5e217 fee721",
    "cividis": "00224e 00285b 002e6b 043372 1b386f 273e6e 32436d 3b496c 434e6c 4b546c 53596d 5a5f6e 61646f 686a71 "
    "6f7073 757676 7c7b78 838179 8c8778 938d78 9a9376 a29a75 aaa073 b3a670 bbad6d c3b469 ccba64 d4c15f "
    "ddc858 e6d051 efd748 f9df3b ffe734",
    "parula": "352a87 0363e1 1485d4 06a7c6 38b99e 92bf73 d9ba56 fcce2e f9fb0e",
    "ocean": "000000 000015 00002a 000040 000055 00206a 00407f 006095 007faa 409fbf 80bfd5 bfdfea ffffff",
    "deepgreen": "000000 001500 002a00 004000 005500 006a20 008040 009560 00aa7f 40bf9f 80d5bf bfeadf ffffff",
    "bone": "000000 1c1c26 38384d 545474 707a8f 8ba1ab a7c7c7 d3e3e3 ffffff",
    "pink": "060404 3c2727 4f3434 624040 704a4a 7e5252 8a5a5a 956262 9f6868 a96f6f b27474 bb7a7a c3807f c68b85 "
    "ca968a cda18f d0aa93 d3b398 d7bb9c dac4a1 ddcba4 e0d3a8 e3dbac e6e2b0 e9e9b5 ececbf eeeeca f1f1d3 "
    "f4f4dd f7f7e6 fafaee fcfcf7 ffffff",
    "cool": "00ffff ff00ff",
    "spring": "ff00ff ffff00",
    "summer": "008066 ffff66",
    "autumn": "ff0000 ffff00",
    "winter": "0000ff 00ff80",
}

#: Names of the known palettes.
PALETTES = tuple(_COLOURS)

#: A line begins dark if its first colour is no farther from black than this, as a fraction of the cube's side.
_DARK = 0.2


class Line(NamedTuple):
    """A palette as straight pieces."""

    starts: NDArray[np.float32]
    """Colours [n, 3] in [0, 1] at which the pieces start."""
    steps: NDArray[np.float32]
    """Difference from each start to the next, [n, 3]."""

    @property
    def begins_dark(self) -> bool:
        """Whether the coldest colour is nearly black."""
        return bool(np.linalg.norm(self.starts[0]) < _DARK)

    def nearest(self, pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns where on the line the points nearest to pixels [..., 3] are, in [0, 1], and how far away."""
        colours = np.ascontiguousarray(pixels.reshape(-1, 3).T)  # one colour in each row is several times as fast
        place = np.zeros(colours.shape[1], np.float32)
        least = np.full(colours.shape[1], np.inf, np.float32)
        for number, (start, step) in enumerate(zip(self.starts, self.steps, strict=True)):
            offset = colours - start[:, np.newaxis]
            along = np.clip((step / np.dot(step, step)) @ offset, 0, 1)
            offset -= step[:, np.newaxis] * along
            squared = np.einsum("cn,cn->n", offset, offset)
            closer = squared < least
            np.copyto(least, squared, where=closer)
            np.copyto(place, number + along, where=closer)
        place /= len(self.starts)
        return place.reshape(pixels.shape[:-1]), np.sqrt(least).reshape(pixels.shape[:-1])

    def colours(self, places: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the colours [..., 3] at places in [0, 1]."""
        at = places * np.float32(len(self.starts))
        piece = np.minimum(at.astype(int), len(self.starts) - 1)
        colours: NDArray[np.float32] = self.starts[piece] + (at - piece)[..., np.newaxis] * self.steps[piece]
        return colours


@cache
def line_of(palette: str) -> Line:
    """Returns the line of a palette.

    Raises:
        ImageError: The palette is unknown.
    """
    if palette not in _COLOURS:
        raise ImageError(
            f"no palette {palette!r} is known, expected one of {', '.join(PALETTES)}; choose the nearest."
        )
    colours = np.array([[*bytes.fromhex(each)] for each in _COLOURS[palette].split()], np.float32) / np.float32(255)
    return Line(colours[:-1], np.diff(colours, axis=0))
