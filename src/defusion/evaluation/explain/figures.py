"""Draws figures 7 and 8 of the paper for print, as PNG and PDF."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from defusion.errors import EvaluationError
from defusion.evaluation.explain.cases import Pixels
from defusion.evaluation.explain.embeddings import Pair
from defusion.evaluation.explain.toys import Toy
from defusion.imaging import in_folder
from defusion.system.files import beside

#: Width of the text on a page, in inches, and measures of the figures.
_WIDTH_IN = 7.2
_DPI = 300
_FONT_PT = 7
_GAP_IN = 0.04
_TITLE_IN = 0.22
_MAP_COLOURS = "inferno"

_CAPTION_IN = 0.18

_ACTIVATIONS = ("activation of $f_c$", "activation of $f_u^1$", "activation of $f_u^2$")
_PICTURES = ("picture of $f_c$", "picture of $f_u^1$", "picture of $f_u^2$")
_LABELS = {
    "grid_noise": "grids,\nnoise\n(eq. 1)",
    "freeform_noise": "free forms,\nnoise",
    "grid_zeros": "grids,\nzeros",
    "two_noises": "noise of\n$\\sigma$ = 10,\ntwo draws",
    "one_noise": "noise of\n$\\sigma$ = 10,\nthe same",
}


def toy_figure(toy: Toy) -> Figure:
    """Draws Fig. 7: a row for each case, with the PSNR of the common and of the fused pictures below them.

    Parts are those of the paper's network.
    """
    titles = ("source a", "source b", "common", "unique a", "unique b", "fused (paper)", "fused (pyramid)")
    rows = [(row.case.a, row.case.b, *row.made["paper"], row.made["pyramid"].fused) for row in toy.rows]
    sheet = _Sheet(toy.scene.shape[:2], titles, rows=len(rows), left_in=0.62, caption_in=_CAPTION_IN)
    for number, (row, pictures) in enumerate(zip(toy.rows, rows, strict=True)):
        sheet.label(number, _LABELS[row.case.name])
        for column, picture in enumerate(pictures):
            sheet.panel(number, column, picture)
        paper, pyramid = (row.statistics.networks[name] for name in ("paper", "pyramid"))
        for column, psnr in ((2, paper.psnr_common), (5, paper.psnr), (6, pyramid.psnr)):
            sheet.caption(number, column, f"{psnr:.1f} dB")
    return sheet.figure


def pair_figure(pair: Pair) -> Figure:
    """Draws Fig. 8: how active the embeddings are, on one scale, and the pictures made from them."""
    titles = ("sources", "common", "unique a", "unique b")
    rows = (
        {"a": pair.a, **dict(zip(_ACTIVATIONS, pair.activation.normalised(), strict=True))},
        {"b": pair.b, **dict(zip(_PICTURES, (pair.common, pair.unique_a, pair.unique_b), strict=True))},
    )
    sheet = _Sheet(pair.a.shape[:2], titles, rows=len(rows), left_in=_GAP_IN, right_in=0.42, caption_in=_CAPTION_IN)
    for number, row in enumerate(rows):
        for column, (caption, picture) in enumerate(row.items()):
            sheet.panel(number, column, picture)
            sheet.caption(number, column, caption)
    sheet.scale("activation")
    return sheet.figure


def files_of(folder: Path, name: str) -> dict[str, Path]:
    """Returns the files that `save` writes, by suffix."""
    return {suffix: folder / f"{name}.{suffix}" for suffix in ("png", "pdf")}


def save(figure: Figure, folder: Path, name: str) -> dict[str, Path]:
    """Writes a figure as PNG and PDF into a folder, created if needed. Both appear, or neither.

    Returns:
        The files, by suffix.

    Raises:
        EvaluationError: A file cannot be written.
        ImageError: The folder cannot be created.
    """
    files = files_of(folder, name)
    try:
        with in_folder(folder), ExitStack() as outputs:
            for suffix, file in files.items():
                place = outputs.enter_context(beside(file))
                metadata = {"CreationDate": None} if suffix == "pdf" else None
                figure.savefig(place, format=suffix, dpi=_DPI, metadata=metadata)
    except OSError as error:
        raise EvaluationError(
            f"{files['pdf'].with_suffix('')} cannot be written ({error.strerror or error}); free some space or "
            "choose another folder"
        ) from error
    return files


class _Sheet:
    """Panels of one size in rows, as wide as the text on a page, with room for labels."""

    def __init__(
        self,
        size: Sequence[int],
        titles: Sequence[str],
        *,
        rows: int,
        left_in: float,
        right_in: float = _GAP_IN,
        caption_in: float,
    ) -> None:
        height, width = size
        self._left, self._right = left_in, right_in
        self._wide = (_WIDTH_IN - left_in - right_in - (len(titles) - 1) * _GAP_IN) / len(titles)
        self._high = self._wide * height / width
        self._step = self._high + caption_in
        self._total = _TITLE_IN + rows * self._step + _GAP_IN
        self.figure = Figure(figsize=(_WIDTH_IN, self._total))
        for column, title in enumerate(titles):
            self._text(self._x(column) + self._wide / 2, _TITLE_IN / 2, title)

    def panel(self, row: int, column: int, picture: Pixels) -> None:
        """Places a picture [H, W, 3] or a map [H, W]."""
        axes = self.figure.add_axes(self._box(self._x(column), row, self._wide))
        axes.imshow(picture, cmap=_MAP_COLOURS, vmin=0, vmax=1, aspect="auto")
        axes.set_axis_off()

    def label(self, row: int, text: str) -> None:
        """Writes a label to the left of a row."""
        self._text(self._left / 2, _TITLE_IN + row * self._step + self._high / 2, text)

    def caption(self, row: int, column: int, text: str) -> None:
        """Writes a caption below a panel."""
        below = _TITLE_IN + row * self._step + (self._high + self._step) / 2
        self._text(self._x(column) + self._wide / 2, below, text)

    def scale(self, name: str) -> None:
        """Draws the colour scale of the maps to their right."""
        axes = self.figure.add_axes(self._box(_WIDTH_IN - self._right + 0.06, 0, 0.08))
        bar = self.figure.colorbar(ScalarMappable(Normalize(0, 1), _MAP_COLOURS), cax=axes, ticks=[0, 1])
        bar.ax.tick_params(labelsize=_FONT_PT, length=2, pad=2)
        bar.set_label(name, fontsize=_FONT_PT, labelpad=0)

    def _x(self, column: int) -> float:
        return self._left + column * (self._wide + _GAP_IN)

    def _box(self, left_in: float, row: int, wide_in: float) -> tuple[float, float, float, float]:
        bottom = self._total - _TITLE_IN - row * self._step - self._high
        return (left_in / _WIDTH_IN, bottom / self._total, wide_in / _WIDTH_IN, self._high / self._total)

    def _text(self, x_in: float, down_in: float, text: str) -> None:
        place = {"ha": "center", "va": "center", "fontsize": _FONT_PT}
        self.figure.text(x_in / _WIDTH_IN, 1 - down_in / self._total, text, place)
