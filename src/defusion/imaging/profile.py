"""Colour profiles: sources brought to the profile of the first, and CMYK to sRGB."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defusion.imaging.picture import LazySamples, Picture, Samples

#: Largest difference, of 1.0, at which two profiles mean the same: half a step of 8 bits. Makers' sRGB profiles
#: differ in their last digits.
_SAME = 0.5 / 255


def in_profile_of(picture: Picture, first: Picture, name: str = "source") -> Picture:
    """Brings an RGB picture to the colour profile of another, at its full depth.

    Pixels are converted region by region, when they are asked for. No profile means sRGB; so does a first picture
    in grey, whose profile says nothing about colour. Relative colorimetric; colours outside the first's are clipped.

    Args:
        picture: The picture to convert.
        first: The picture whose profile the result gets.
        name: What notes call the picture.

    Returns:
        The picture itself if there is nothing to convert: both profiles mean the same, or it is grey. A profile
        that cannot be used leaves the pixels as they are, with a note.
    """
    if picture.grey:
        same = picture.icc in (None, first.icc)
        return picture if same else _noted(picture, f"{name}: grey profile left out of account")
    target = None if first.grey else first.icc
    if picture.icc == target:
        return picture
    try:
        if not _differ(picture.icc, target):
            return picture
    except (RuntimeError, ValueError):  # lcms: no profile, or not one for RGB
        return _noted(picture, f"{name}: colour profile cannot be used, colours left as they are")
    samples = _Converted(picture.samples, picture.icc, target)
    note = f"{name}: colours brought to {'sRGB' if target is None else 'the profile of the first source'}"
    return _noted(replace(picture, samples=samples, icc=target), note)


def _noted(picture: Picture, note: str) -> Picture:
    return replace(picture, notes=(*picture.notes, note))


class _Converted(LazySamples):
    """RGB samples seen through another profile."""

    def __init__(self, samples: Samples, source: bytes | None, target: bytes | None) -> None:
        height, width, channels = samples.shape
        self.shape, self.dtype = (height, width, channels), samples.dtype
        self._samples, self._source, self._target = samples, source, target

    def made(self, rows: range, columns: range) -> NDArray[Any]:
        region = self._samples[rows.start : rows.stop : rows.step, columns.start : columns.stop : columns.step]
        return _transformed(region, self._source, self._target)


@lru_cache(maxsize=64)
def _differ(source: bytes | None, target: bytes | None) -> bool:
    """Says whether two profiles show colours of all the cube differently.

    Raises:
        RuntimeError, ValueError: One of them is no profile for RGB.
    """
    cube = np.array(list(product(np.linspace(0, 1, 9), repeat=3)), np.float32)[np.newaxis]
    return bool(np.abs(_transformed(cube, source, target) - cube).max() > _SAME)


def _transformed(samples: NDArray[Any], source: bytes | None, target: bytes | None) -> NDArray[Any]:
    import imagecodecs

    srgb = imagecodecs.cms_profile("srgb")
    converted: NDArray[Any] = imagecodecs.cms_transform(
        np.ascontiguousarray(samples),
        source or srgb,
        target or srgb,
        colorspace="rgb",
        outcolorspace="rgb",
        intent=imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC,
        # Optimised, lcms puts a coarse table in place of the curves: 16 bits came back from Adobe RGB off by up to
        # 5446 of 65535, and not optimised by 14.
        flags=imagecodecs.CMS.FLAGS.NOOPTIMIZE | imagecodecs.CMS.FLAGS.BLACKPOINTCOMPENSATION,
    )
    return np.clip(converted, 0, 1, out=converted) if converted.dtype.kind == "f" else converted


def cmyk_to_srgb(cmyk: NDArray[np.uint8], icc: bytes | None) -> NDArray[np.uint8]:
    """Turn HxWx4 CMYK samples into sRGB: by their profile if it works, else by Pillow's plain subtraction."""
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
            pass  # a broken profile, or one of another colour space
    return np.asarray(image.convert("RGB"))
