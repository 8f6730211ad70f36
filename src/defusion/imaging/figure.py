"""Figures: pictures side by side with labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from defusion.imaging.picture import Picture, to_array

#: Largest width of a panel.
_PANEL_PX = 480
_GAP_PX = 8


def labelled_panels(panels: Mapping[str, Picture], columns: int = 3) -> Picture:
    """Arranges pictures of one size in rows, each under its name, as in the paper's Fig. 7.

    Args:
        panels: Pictures by label, in reading order.
        columns: Panels in a row.

    Returns:
        An 8-bit picture. Panels wider than 480 pixels are scaled down to that.
    """
    from PIL import Image, ImageDraw, ImageFont

    pictures = list(panels.values())
    height, width = pictures[0].height, pictures[0].width
    scale = min(1.0, _PANEL_PX / width)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    font_px = max(11, wide // 20)
    font = ImageFont.load_default(font_px)
    label = font_px + 2 * _GAP_PX
    rows = -(-len(pictures) // columns)
    size = (columns * (wide + _GAP_PX) + _GAP_PX, rows * (high + label) + _GAP_PX)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for number, (name, picture) in enumerate(panels.items()):
        row, column = divmod(number, columns)
        left, top = _GAP_PX + column * (wide + _GAP_PX), row * (high + label)
        draw.text((left, top + _GAP_PX), name.replace("_", " "), "black", font)
        samples = to_array(picture, like=np.empty((1, 1, 3), np.uint8))
        panel = Image.fromarray(samples).resize((wide, high), Image.Resampling.LANCZOS)
        sheet.paste(panel, (left, top + label))
    return Picture(np.asarray(sheet))
