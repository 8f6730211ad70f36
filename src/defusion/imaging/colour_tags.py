"""Makes ICC profiles from what files say about their colours in other ways: PNG chunks, TIFF tags, EXR attributes.

A profile can be stored in any format, and all code that compares or converts colours works with profiles.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from defusion.imaging.tone import light

Chromaticities: TypeAlias = "tuple[float, ...]"
"""x and y of red, green, blue and white."""

_D65 = (0.3127, 0.3290)
_SRGB: Chromaticities = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, *_D65)

#: Primaries by their number in ITU-T H.273: NTSC, PAL, SMPTE C, Rec. 2020, DCI-P3 and Display P3.
_PRIMARIES: dict[int, Chromaticities] = {
    1: _SRGB,
    4: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, 0.310, 0.316),
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *_D65),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),
}

#: An exponent this close to 2.2 means sRGB's curve: older programs could not describe it in another way.
_NEAR_SRGB_GAMMA = 0.02

_STEPS = 1024


class Cicp(NamedTuple):
    """Colours by their numbers in ITU-T H.273, as in PNG, AVIF and HEIC."""

    primaries: int
    transfer: int
    matrix: int = 0
    full_range: int = 1


def profile_of_png(chunks: Mapping[bytes, bytes]) -> tuple[bytes | None, str | None]:
    """Makes a profile from a PNG's colour chunks, in the order of priority of the standard.

    Args:
        chunks: Data of the chunks before the pixels, by name.

    Returns:
        The profile, None for sRGB; and the names of the chunks that were used, None if there were none. iCCP is not
        read here.
    """
    if len(cicp := chunks.get(b"cICP", b"")) == 4:
        return profile_of_cicp(Cicp(*cicp)), "cICP"
    if b"iCCP" in chunks or b"sRGB" in chunks:
        return None, None
    gamma, primaries = None, None
    if len(data := chunks.get(b"gAMA", b"")) == 4:
        gamma = 1e5 / max(1, struct.unpack(">I", data)[0])
    if len(data := chunks.get(b"cHRM", b"")) == 32:
        white_x, white_y, *rest = (each / 1e5 for each in struct.unpack(">8I", data))
        primaries = (*rest, white_x, white_y)
    if gamma is None and primaries is None:
        return None, None
    near_srgb = gamma is None or abs(gamma - 2.2) < _NEAR_SRGB_GAMMA
    if near_srgb and np.allclose(primaries or _SRGB, _SRGB, atol=2e-3):
        return None, None
    names = [name for name, told in (("gAMA", gamma), ("cHRM", primaries)) if told is not None]
    return _profile(primaries or _SRGB, "srgb" if near_srgb else gamma), " and ".join(names)


@lru_cache(maxsize=16)
def profile_of_cicp(cicp: Cicp) -> bytes | None:
    """Makes a profile from code points; None for sRGB, and for those that RGB pictures do not have."""
    curves: dict[int, Any] = {
        **dict.fromkeys((1, 6, 14, 15), "bt709"),
        **{4: 2.2, 5: 2.8, 8: 1.0, 13: "srgb", 16: "pq", 18: "hlg"},
    }
    if cicp.primaries not in _PRIMARIES or cicp.transfer not in curves or cicp[:2] == (1, 13):
        return None
    numbers = bytes([cicp.primaries, cicp.transfer, 0, 1])
    return _with_tag(_profile(_PRIMARIES[cicp.primaries], curves[cicp.transfer]), b"cicp", numbers)


def cicp_of_profile(icc: bytes | None) -> bytes | None:
    """Reads the four code points from a profile that states them."""
    (count,) = struct.unpack_from(">I", icc, 128) if icc and len(icc) >= 132 else (0,)
    for number in range(min(count, 100)):
        name, at, size = struct.unpack_from(">4sII", (icc or b"").ljust(132 + 12 * count, b"\0"), 132 + 12 * number)
        if name == b"cicp" and size == 12:
            return (icc or b"")[at + 8 : at + 12]
    return None


def profile_of_tiff(
    white: Sequence[float] | None,
    primaries: Sequence[float] | None,
    curves: NDArray[np.uint16] | None,
    grey: bool,
) -> bytes | None:
    """Makes a profile from TIFF's tags 318, 319 and 301; None if there are none, or they mean sRGB.

    Args:
        white: x and y of white.
        primaries: x and y of red, green and blue.
        curves: [n] or [3, n], light for even steps of a sample, 65535 for white.
        grey: The picture has one channel.
    """
    if white is None and primaries is None and curves is None:
        return None
    colours = (*(primaries or _SRGB[:6]), *(white or _D65))
    table = None if curves is None else np.atleast_2d(curves.astype(np.float32) / np.float32(65535))
    curve: Any = "srgb" if table is None else tuple(map(tuple, table))
    ideal = _curve("srgb", _STEPS) if table is None else _curve("srgb", table.shape[1])
    same_curve = table is None or np.abs(table - ideal).max() < 2e-3
    if same_curve and (grey or np.allclose(colours, _SRGB, atol=2e-3)):
        return None
    if grey:
        import imagecodecs

        assert table is not None  # otherwise the curve is sRGB's
        return _undated(imagecodecs.cms_profile("gray", whitepoint=(*colours[6:], 1.0), transferfunction=table[0]))
    return _profile(colours, curve)


def linear_profile(primaries: Chromaticities = _SRGB, *, grey: bool = False) -> bytes:
    """Makes a linear profile with the given primaries; by default those of sRGB."""
    return profile_of_curve(primaries, 1.0, grey=grey)


def profile_of_curve(primaries: Chromaticities, curve: float | str, *, grey: bool = False) -> bytes:
    """Makes a profile whose light is a power of the samples, or follows a curve: bt709, srgb, pq or hlg."""
    if not grey:
        return _profile(tuple(primaries), curve)
    import imagecodecs

    made: dict[str, Any] = {"gamma": curve}
    if isinstance(curve, str):
        made = {"transferfunction": _curve(curve, _STEPS)}
    return _undated(imagecodecs.cms_profile("gray", whitepoint=(*primaries[6:], 1.0), **made))


def adobe_rgb() -> bytes:
    """Makes the profile of Adobe RGB (1998)."""
    return _profile((0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *_D65), 563 / 256)


@lru_cache(maxsize=16)
def _profile(colours: Chromaticities, curve: Any) -> bytes:
    """Makes a matrix profile with an exponent, or with a curve given by name or as tables."""
    import imagecodecs

    made: dict[str, Any] = {"gamma": curve}
    if isinstance(curve, str):
        made = {"transferfunction": _curve(curve, _STEPS)}
    elif isinstance(curve, tuple):
        table = np.array(curve, np.float32)
        made = {"transferfunction": np.repeat(table, 3, 0) if len(table) == 1 else table}
    red, green, blue, white = ((*colours[at : at + 2], 1.0) for at in (0, 2, 4, 6))
    return _undated(imagecodecs.cms_profile("rgb", whitepoint=white, primaries=(*red, *green, *blue), **made))


def _curve(name: str, steps: int) -> NDArray[np.float32]:
    """Returns the light, 1 for the brightest, for even steps of a sample."""
    sample = np.linspace(0, 1, steps)
    if name == "bt709":
        linear = np.where(sample < 0.081, sample / 4.5, ((sample + 0.099) / 1.099) ** (1 / 0.45))
    elif name == "pq":  # SMPTE ST 2084
        power = sample ** (1 / 78.84375)
        linear = (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)
    elif name == "hlg":  # ITU-R BT.2100, scene light
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        linear = np.where(sample <= 0.5, sample**2 / 3, (np.exp((sample - c) / a) + b) / 12)
    else:
        linear = light(sample.astype(np.float32))
    return linear.astype(np.float32)


def _undated(icc: bytes) -> bytes:
    """Removes the creation date of a profile, so that equal colours give equal bytes."""
    return icc[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + icc[36:]


def _with_tag(icc: bytes, name: bytes, data: bytes) -> bytes:
    """Adds a tag at the end of a profile."""
    (count,) = struct.unpack_from(">I", icc, 128)
    table_end = 132 + 12 * count
    body = icc[table_end:]
    body += bytes(-len(body) % 4)
    entries = b""
    for number in range(count):
        each, at, size = struct.unpack_from(">4sII", icc, 132 + 12 * number)
        entries += struct.pack(">4sII", each, at + 12, size)
    value = name + bytes(4) + data
    entries += struct.pack(">4sII", name, table_end + 12 + len(body), len(value))
    made = icc[4:128] + struct.pack(">I", count + 1) + entries + body + value
    return struct.pack(">I", len(made) + 4) + made
