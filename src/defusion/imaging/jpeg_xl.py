"""Reads and changes the header of a JPEG XL: its size, and the colours that it names by numbers (ISO 18181-1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from defusion.imaging.colour_tags import Cicp, cicp_of_profile, profile_of_cicp, profile_of_curve
from defusion.imaging.tone import light

STARTS = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")

#: Bytes from the start of the code in which its header ends.
_HEAD = 2**13

#: Numbers of the white points and primaries of sRGB, and of those that are written out.
_D65, _SRGB, _CUSTOM = 1, 1, 2
_WHITES = {_D65: (0.3127, 0.3290), 10: (1 / 3, 1 / 3), 11: (0.314, 0.351)}
_PRIMARIES = {
    _SRGB: (0.64, 0.33, 0.30, 0.60, 0.15, 0.06),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}

#: The width of a number, in bits, for each value of the two bits before it, and an offset that is added to it.
_ENUM = ((0, 0), (0, 1), (4, 2), (6, 18))
_SIDE = ((9, 1), (13, 1), (18, 1), (30, 1))
_INTEGER_BITS = ((0, 8), (0, 10), (0, 12), (6, 1))
_FLOAT_BITS = ((0, 32), (0, 16), (0, 24), (6, 1))
_EXTRA_CHANNELS = ((0, 0), (0, 1), (4, 2), (12, 1))
_SHIFT = ((0, 0), (0, 3), (0, 4), (3, 1))
_NAME = ((0, 0), (4, 0), (5, 16), (10, 48))
_TICKS, _OF_TICKS = ((0, 100), (0, 1000), (10, 1), (30, 1)), ((0, 1), (0, 1001), (8, 1), (10, 1))
_LOOPS = ((0, 0), (3, 0), (16, 0), (32, 0))
_XY = ((19, 0), (19, 2**19), (20, 2**20), (21, 2**21))

_GREY = 1

#: Primaries by their number in ITU-T H.273, and here.
_OF_CICP = {1: _SRGB, 9: 9, 12: 11}

#: Curves by their numbers in ITU-T H.273.
_TRANSFERS: dict[int, Any] = {1: "bt709", 8: 1.0, 13: "srgb", 16: "pq", 18: "hlg"}

#: Places on a curve that are compared, and the largest difference of one that is the same.
_STEPS, _SAME = 65, 2e-3


@dataclass(frozen=True)
class Header:
    """The size and colours that a JPEG XL states."""

    width: int
    height: int
    animated: bool
    known: bool
    """The header names the colours. Otherwise they are in a profile that only a decoder can unpack."""
    icc: bytes | None
    """A profile of these colours; None if they are sRGB or not known."""


class _Bits:
    """Reads numbers of a few bits, the lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.all = int.from_bytes(data, "little")
        self.at = 0

    def number(self, wide: int) -> int:
        if self.at + wide > 8 * len(self.data):
            raise ValueError("it ends in its header")
        value = self.all >> self.at & ((1 << wide) - 1)
        self.at += wide
        return value

    def chosen(self, kinds: tuple[tuple[int, int], ...]) -> int:
        wide, offset = kinds[self.number(2)]
        return offset + self.number(wide)

    def xy(self) -> float:
        value = self.chosen(_XY)
        return (value // 2 if value % 2 == 0 else -(value + 1) // 2) / 1e6


def header(data: bytes) -> Header:
    """Reads the header of a JPEG XL.

    Raises:
        ValueError: There is no picture in it.
    """
    start = _start_of_code(data)
    bits = _Bits(data[start + 2 : start + _HEAD])
    width, height = _size(bits)
    if bits.number(1):  # all as usual
        return Header(width, height, animated=False, known=True, icc=None)
    animated = False
    if bits.number(1):
        bits.number(3)  # how it is turned, which the decoder undoes
        if bits.number(1):
            _size(bits)
        if bits.number(1):  # a preview, whose size nobody writes
            return Header(width, height, animated=False, known=False, icc=None)
        if animated := bool(bits.number(1)):
            for kinds in (_TICKS, _OF_TICKS, _LOOPS):
                bits.chosen(kinds)
            bits.number(1)
    if not _channels(bits):
        return Header(width, height, animated=animated, known=False, icc=None)
    known, icc = _colours(bits)
    return Header(width, height, animated=animated, known=known, icc=icc)


def with_colours(data: bytes | bytearray, icc: bytes | None, *, grey: bool) -> bytes:
    """Changes the colours that a lossless JPEG XL by imagecodecs names. The samples stay as they are.

    Args:
        data: The file.
        icc: A profile for which `named` is true.
        grey: It has one channel.
    """
    data = bytes(data)
    start = _start_of_code(data)
    bits = _Bits(data[start + 2 : start + _HEAD])
    _size(bits)
    if bits.number(1) or bits.number(1):
        raise ValueError("the header of a JPEG XL is laid out in another way")
    _channels(bits)
    before = bits.all & ((1 << bits.at) - 1)
    made = _written(icc, grey)
    head = before | made.all << bits.at
    wide = bits.at + made.at
    _colours(bits)
    if bits.number(3) != 4:  # neither extensions nor other transforms
        raise ValueError("the header of a JPEG XL is laid out in another way")
    head |= 4 << wide
    code = head.to_bytes((wide + 3 + 7) // 8, "little")
    behind = start + 2 + (bits.at + 7) // 8
    longer = len(code) - (behind - start - 2)
    front = bytearray(data[: start + 2])
    if start:  # the box around it
        at = start - 12 if data[start - 8 : start - 4] == b"jxlp" else start - 8
        (size,) = struct.unpack_from(">I", front, at)
        if size > 1:
            struct.pack_into(">I", front, at, size + longer)
    return bytes(front) + code + data[behind:]


def box(data: bytes, kind: bytes) -> bytes | None:
    """Returns the content of a box of a kind, before or after the code."""
    at = len(STARTS[1])
    while data.startswith(STARTS[1]) and at + 16 <= len(data):
        size, found = struct.unpack_from(">I4s", data, at)
        if size < 8:  # it extends to the end, or has a longer size: these are samples
            return None
        if found == kind:
            return data[at + 8 : at + size]
        at += size
    return None


def named(icc: bytes | None) -> bool:
    """Returns whether a JPEG XL can name the colours of a profile."""
    return icc is None or _names(icc) is not None


def _start_of_code(data: bytes) -> int:
    """Returns the position at which the code starts. It may be inside a box."""
    at = 0
    while data.startswith(STARTS[1]):
        if at + 8 > len(data):
            raise ValueError("it has no picture")
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind in (b"jxlc", b"jxlp"):
            at += 8 + 8 * (size == 1) + 4 * (kind == b"jxlp")
            break
        if size < 8:
            raise ValueError("it has no picture")
        at += size
    return at


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits.number(1)

    def side() -> int:
        return 8 * (bits.number(5) + 1) if small else bits.chosen(_SIDE)

    height = side()
    across, down = ((0, 0), (1, 1), (6, 5), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[bits.number(3)]
    return (height * across // down if across else side()), height


def _channels(bits: _Bits) -> bool:
    """Skips the description of the samples. Returns False if there are channels of unknown kinds."""
    _depth(bits)
    bits.number(1)
    if not all(_extra_channel(bits) for _ in range(bits.chosen(_EXTRA_CHANNELS))):
        return False
    bits.number(1)
    return True


def _depth(bits: _Bits) -> None:
    if bits.number(1):
        bits.chosen(_FLOAT_BITS)
        bits.number(4)
    else:
        bits.chosen(_INTEGER_BITS)


def _extra_channel(bits: _Bits) -> bool:
    """Skips the description of an extra channel. Returns False if its kind has further fields."""
    if bits.number(1):  # alpha of 8 bits
        return True
    kind = bits.chosen(_ENUM)
    _depth(bits)
    bits.chosen(_SHIFT)
    bits.number(8 * bits.chosen(_NAME))
    if kind == 0:  # alpha
        bits.number(1)
    return kind not in (2, 5)  # spot colours, colour filters


def _colours(bits: _Bits) -> tuple[bool, bytes | None]:
    """Returns whether the colours are named, and a profile of them."""
    if bits.number(1):
        return True, None
    packed, space = bits.number(1), bits.chosen(_ENUM)
    if packed or space not in (0, _GREY):
        return False, None
    white = bits.chosen(_ENUM)
    white_xy = (bits.xy(), bits.xy()) if white == _CUSTOM else _WHITES.get(white)
    primaries = _SRGB if space == _GREY else bits.chosen(_ENUM)
    colours = tuple(bits.xy() for _ in range(6)) if primaries == _CUSTOM else _PRIMARIES.get(primaries)
    gamma = bits.number(24) / 1e7 if bits.number(1) else None
    transfer = bits.chosen(_ENUM) if gamma is None else 0
    bits.chosen(_ENUM)  # how other colours are brought in
    if white_xy is None or colours is None or gamma == 0 or (gamma is None and transfer not in _TRANSFERS):
        return False, None
    if (white, primaries, transfer) == (_D65, _SRGB, 13):
        return True, None
    if white == _D65 and primaries in _OF_CICP.values() and gamma is None and space != _GREY:
        numbers = {ours: theirs for theirs, ours in _OF_CICP.items()}
        return True, profile_of_cicp(Cicp(numbers[primaries], transfer))
    curve = 1 / gamma if gamma else _TRANSFERS[transfer]
    return True, profile_of_curve((*colours, *white_xy), curve, grey=space == _GREY)


class _Written:
    """Writes numbers of a few bits, the lowest bit first."""

    def __init__(self) -> None:
        self.all, self.at = 0, 0

    def number(self, value: int, wide: int) -> None:
        self.all |= value << self.at
        self.at += wide

    def enum(self, value: int) -> None:
        if value < 2:
            self.number(value, 2)
        else:
            self.number(2 if value < 18 else 3, 2)
            self.number(value - (2 if value < 18 else 18), 4 if value < 18 else 6)

    def xy(self, value: float) -> None:
        whole = round(value * 1e6)
        whole = 2 * whole if whole >= 0 else -2 * whole - 1
        kind = next(number for number, (wide, offset) in enumerate(_XY) if whole - offset < 1 << wide)
        self.number(kind, 2)
        self.number(whole - _XY[kind][1], _XY[kind][0])


class _Named(NamedTuple):
    """Colours as a JPEG XL names them."""

    white: tuple[float, ...]
    primaries: tuple[float, ...]
    """x and y of each primary; empty for grey."""
    transfer: int
    """Number of the curve in ITU-T H.273; 0 for an exponent."""
    exponent: float = 0.0
    number: int = 0
    """Number of the primaries, if they have one; their white is then D65."""


def _written(icc: bytes | None, grey: bool) -> _Written:
    """Encodes the colours of a profile for a header."""
    made = _Written()
    found = _Named((), (), 13, number=_SRGB) if icc is None else _names(icc)
    assert found is not None
    made.number(0, 2)  # all is stated, and no profile is packed
    made.enum(_GREY if grey else 0)
    made.enum(_D65 if found.number else _CUSTOM)
    for each in found.white:
        made.xy(each)
    if not grey:
        made.enum(found.number or _CUSTOM)
    for each in found.primaries:
        made.xy(each)
    made.number(not found.transfer, 1)
    if found.transfer:
        made.enum(found.transfer)
    else:
        made.number(round(1e7 / found.exponent), 24)
    made.enum(1)  # relative colorimetric
    return made


@lru_cache(maxsize=16)
def _names(icc: bytes) -> _Named | None:
    """Returns the names of a profile's colours in a JPEG XL, or None if it cannot name them."""
    import imagecodecs

    grey = icc[16:20] == b"GRAY"
    kind = "gray" if grey else "rgb"
    steps = np.linspace(0, 1, _STEPS, dtype=np.float32)
    asked = steps if grey else np.concatenate([np.eye(3, dtype=np.float32), np.repeat(steps, 3).reshape(-1, 3)])
    try:
        xyz = imagecodecs.cms_transform(
            asked[np.newaxis], icc, imagecodecs.cms_profile("xyz"), colorspace=kind, outcolorspace="xyz"
        )[0]
    except (RuntimeError, ValueError):  # no profile, or one of another kind
        return None
    of_light = xyz[-_STEPS:, 1] / xyz[-1, 1]
    white, *primaries = (tuple(map(float, each[:2] / each.sum())) for each in (xyz[-1], *xyz[:-_STEPS]))
    if not grey and np.abs(xyz[:3].sum(0) - xyz[-1]).max() > _SAME:
        return None  # more than a matrix
    flat = tuple(value for each in primaries for value in each)
    numbers = cicp_of_profile(icc)
    if numbers is not None and numbers[0] in _OF_CICP and numbers[1] in _TRANSFERS:
        return _Named((), (), numbers[1], number=_OF_CICP[numbers[0]])
    if np.abs(of_light - light(steps)).max() < _SAME:
        return _Named(white, flat, 13)
    exponent = float(np.log(of_light[_STEPS // 2]) / np.log(steps[_STEPS // 2]))
    if exponent < 1 or np.abs(of_light - steps**exponent).max() > _SAME:
        return None
    return _Named(white, flat, 8) if abs(exponent - 1) < _SAME else _Named(white, flat, 0, exponent)
