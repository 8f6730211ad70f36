"""Colour profiles: converts sources to the profile of the first, and CMYK to sRGB."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defusion.imaging.picture import Picture
from defusion.imaging.samples import LazySamples, shares
from defusion.imaging.tone import Levels, is_linear

#: Profiles are equal if they differ by at most this, of 1.0: half a step of 8 bits. sRGB profiles of different makers
#: differ in their last digits.
_SAME = 0.5 / 255


def in_profile_of(picture: Picture, first: Picture, name: str = "source") -> Picture:
    """Converts a picture to the colour profile of another, at its full depth.

    Pixels are converted region by region, when they are read. Without a profile, a picture is sRGB, or grey with
    sRGB's curve. If the first picture is grey, an RGB picture is converted to sRGB, because a grey profile says
    nothing about colour. The conversion is relative colorimetric; colours outside the target's gamut are clipped.

    Args:
        picture: The picture to convert.
        first: The picture whose profile the result gets.
        name: Name of the picture in notes.

    Returns:
        The picture itself if both profiles are equal. If a profile cannot be used, the pixels stay as they are, with
        a note.
    """
    target = None if first.grey and not picture.grey else first.icc
    if picture.icc == target:
        return picture
    try:
        if not _differ(picture.icc, target, picture.grey):
            return picture
    except (RuntimeError, ValueError):  # lcms: not a profile, or not one for such samples
        return _noted(picture, f"{name}: colour profile cannot be used, colours left as they are")
    what = "tones" if picture.grey else "colours"
    note = f"{name}: {what} converted to {'sRGB' if target is None else 'the profile of the first source'}"
    levels = picture.levels
    if levels is not None:  # converted values lie between 0 and 1
        low, high, white = levels
        levels = None if white is None or not is_linear(target) else Levels(0, 1, (white - low) / (high - low))
    converted = replace(picture, samples=_Converted(picture, target), icc=target, levels=levels)
    return _noted(converted, note)


def to_srgb(samples: NDArray[Any], icc: bytes | None) -> NDArray[Any]:
    """Converts samples [H, W, C] from a profile to sRGB. If the profile cannot be used, they stay as they are."""
    try:
        return samples if icc is None else _transformed(samples, icc, None)
    except (RuntimeError, ValueError):  # lcms: not a profile, or not one for such samples
        return samples


def _noted(picture: Picture, note: str) -> Picture:
    return replace(picture, notes=(*picture.notes, note))


class _Converted(LazySamples):
    """Samples converted to another profile when they are read."""

    def __init__(self, picture: Picture, target: bytes | None) -> None:
        samples = picture.samples
        # Linear values need more bits than perceptual ones.
        whole = picture.levels is None and not is_linear(target)
        self.shape, self.dtype = samples.shape, samples.dtype if whole else np.dtype(np.float32)
        self._samples, self._source, self._target = samples, picture.icc, target
        self._levels = picture.levels
        if self._levels is not None and is_linear(target):
            self._levels = self._levels._replace(white=None)

    def made(self, rows: range, columns: range) -> NDArray[Any]:
        region = self._samples[rows.start : rows.stop : rows.step, columns.start : columns.stop : columns.step]
        if region.dtype != self.dtype or self._levels is not None:
            region = np.clip(shares(region, self._levels), 0, 1)
        return _transformed(region, self._source, self._target)


@lru_cache(maxsize=64)
def _differ(source: bytes | None, target: bytes | None, grey: bool) -> bool:
    """Says whether two profiles differ, by converting colours from all over the cube, or greys.

    Raises:
        RuntimeError, ValueError: One of them is not a profile for such samples.
    """
    steps = np.linspace(0, 1, 9, dtype=np.float32)
    cube = np.array(list(product(steps, repeat=1 if grey else 3)), np.float32)[np.newaxis]
    return bool(np.abs(_transformed(cube, source, target) - cube).max() > _SAME)


def _transformed(samples: NDArray[Any], source: bytes | None, target: bytes | None) -> NDArray[Any]:
    """Converts samples [h, w, C]. With a colour profile, grey samples are converted as its greys."""
    import imagecodecs

    srgb = imagecodecs.cms_profile("srgb")
    kinds = ["gray" if icc and icc[16:20] == b"GRAY" else "rgb" for icc in (source, target)]
    height, width, channels = samples.shape
    given = samples[..., 0] if kinds[0] == "gray" else np.broadcast_to(samples, (height, width, 3))
    if channels == 3 and "gray" in kinds:
        raise ValueError("a profile for grey does not fit colours")
    converted: NDArray[Any] = imagecodecs.cms_transform(
        np.ascontiguousarray(given),
        source or srgb,
        target or srgb,
        colorspace=kinds[0],
        outcolorspace=kinds[1],
        intent=imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC,
        # When it optimises, lcms replaces the curves by a coarse table: 16-bit values converted from Adobe RGB and
        # back were off by up to 5446 of 65535, and by 14 without optimisation.
        flags=imagecodecs.CMS.FLAGS.NOOPTIMIZE | imagecodecs.CMS.FLAGS.BLACKPOINTCOMPENSATION,
    )
    converted = converted.reshape(height, width, -1)
    if channels == 1:
        converted = converted[..., converted.shape[2] // 2 :][..., :1]  # green
    return np.clip(converted, 0, 1, out=converted) if converted.dtype.kind == "f" else converted


def cmyk_to_srgb(cmyk: NDArray[np.uint8], icc: bytes | None) -> NDArray[np.uint8]:
    """Converts HxWx4 CMYK samples to sRGB: by their profile if it works, otherwise by Pillow's plain subtraction."""
    from PIL import Image, ImageCms

    image = Image.frombytes("CMYK", cmyk.shape[1::-1], cmyk.tobytes())
    if icc:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            rgb = ImageCms.profileToProfile(
                image,
                profile,
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            return np.asarray(rgb)
        except (OSError, ImageCms.PyCMSError):
            pass  # the profile is damaged, or for another colour space
    return np.asarray(image.convert("RGB"))
