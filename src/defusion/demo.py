"""`defusion demo`: makes three typical pairs from free photographs that scikit-image ships, and fuses them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from defusion.api.fuser import Fuser
from defusion.errors import DefusionError
from defusion.imaging import Picture, check_folder, luminance, write_together
from defusion.imaging.figure import labelled_panels

Pixels = NDArray[np.float32]


def run_demo(output: Path, report: Callable[[str], None]) -> list[Path]:
    """Makes an exposure, a focus and an infrared-like pair, fuses each, and shows all in one sheet.

    Args:
        output: Folder to write to.
        report: Called with a line of text for each step.

    Returns:
        The files written; the last is the sheet.

    Raises:
        DefusionError: scikit-image is not installed.
    """
    pairs = demo_pairs()
    check_folder(output, [])
    fuser = Fuser()
    pictures: dict[str, Picture] = {}
    panels: dict[str, Picture] = {}
    for name, pair in pairs.items():
        a, b = pair()
        fused = fuser.fuse([a, b])
        report(f"{name}: fused two sources of {a.size_text}")
        for label, picture in {"a": a, "b": b, "fused": fused}.items():
            pictures[f"{name}_{label}.png"] = picture
            panels[f"{name}: {'fused' if label == 'fused' else f'source {label}'}"] = _square(picture)
    pictures["demo.png"] = labelled_panels(panels)
    write_together(output, pictures)
    return [output / name for name in pictures]


def demo_pairs() -> dict[str, Callable[[], tuple[Picture, Picture]]]:
    """Returns functions that make the pairs, by kind of scene.

    Raises:
        DefusionError: scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError as error:
        raise DefusionError('the demo needs the photographs of scikit-image: pip install "defusion[demo]"') from error
    return {
        "exposure": lambda: exposure_pair(_scene(data.coffee())),
        "focus": lambda: focus_pair(_scene(data.chelsea()[:, 40:420])),
        "infrared": lambda: infrared_pair(_scene(data.astronaut())),
    }


def exposure_pair(scene: Pixels) -> tuple[Picture, Picture]:
    """Makes two exposures of a scene, 2.5 stops under and one over, so that shadows and lights clip."""
    linear = scene ** np.float32(2.2)
    return _picture(_gamma(linear * 2**-2.5)), _picture(_gamma(linear * 2.0))


def focus_pair(scene: Pixels) -> tuple[Picture, Picture]:
    """Focuses on the middle of a scene, then on its surroundings."""
    height, width, _ = scene.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    distance = np.hypot((rows / height - 0.5) * 1.1, columns / width - 0.5)
    near = np.clip((0.36 - distance) / 0.04, 0, 1)[..., None]
    blurred = _blurred(scene, 5.0)
    return _picture(near * scene + (1 - near) * blurred), _picture((1 - near) * scene + near * blurred)


def infrared_pair(scene: Pixels) -> tuple[Picture, Picture]:
    """Makes a night picture in visible light and a heat picture: skin glows, cloth is cold, texture is lost."""
    night = scene * np.array([0.35, 0.38, 0.5], np.float32)
    redness = scene[..., :1] - scene[..., 2:]  # of skin it is moderate, of the orange suit strong
    warmth = np.clip(4 * redness - 0.2, 0, 1) * np.clip(3 - 6 * redness, 0, 1)
    heat = _blurred(np.clip(0.25 + 0.6 * warmth + 0.15 * (1 - luminance(scene)), 0, 1), 1.5)
    return _picture(night), Picture.of_pixels(heat, "uint8")


def _scene(photograph: NDArray[np.uint8]) -> Pixels:
    return photograph.astype(np.float32) / np.float32(255)


def _picture(pixels: Pixels) -> Picture:
    return Picture.of_pixels(pixels, "uint8")


def _gamma(linear: Pixels) -> Pixels:
    return np.clip(linear, 0, 1) ** np.float32(1 / 2.2)


def _blurred(pixels: Pixels, sigma: float) -> Pixels:
    from skimage.filters import gaussian

    blurred: Pixels = gaussian(pixels, sigma, channel_axis=2).astype(np.float32)
    return blurred


def _square(picture: Picture, side: int = 300) -> Picture:
    """Cuts out the middle of a picture, so that all panels of a sheet have one size."""
    top, left = (picture.height - side) // 2, (picture.width - side) // 2
    return _picture(picture.pixels[top : top + side, left : left + side])
