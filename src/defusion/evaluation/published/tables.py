"""Published tables: figures as printed, and which of our metrics each column corresponds to.

The figures are in the CSV files of this folder, one row for each method. A column that none of our metrics defines in
the same way stays in the file but is never shown beside measured figures. The paper's IS is one: it is over sets, not
pictures.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defusion.errors import EvaluationError
from defusion.evaluation.metrics import METRICS
from defusion.evaluation.metrics.metric import Better
from defusion.evaluation.statistics import ranks

PAPER = "Liang, Jiang, Liu, Ma: Fusion from Decomposition (ECCV 2022)"
_MEFB = "MEFB, its authors' table of 21 methods x 20 metrics (X. Zhang, Information Fusion 74, 2021)"
_VIFB = (
    "VIFB, its authors' table of 25 methods x 13 metrics (X. Zhang et al., CVPR Workshops 2020, with later methods)"
)

#: Columns that both toolkits compute in the same way. The standard deviation has a different name in each.
_ALIKE = ("Cross_entropy", "Entropy", "Psnr", "Avg_gradient", "Edge_intensity", "Qabf", "Qcv")
_DEVIATION = {"SD": "VIFB.Variance", "Variance": "MEFB.SD"}

#: VIFB adds its Ssim over both sources; ours is their mean.
_SSIM_FACTOR = 0.5

_LOWER_IN_TOOLKITS = ("Cross_entropy", "Qcv", "Rmse")

#: The paper's columns and our metrics.
_PAPER_METRICS: dict[str, dict[str, float]] = {
    "CE": {"ce": 1, "MEFB.Cross_entropy": 1, "VIFB.Cross_entropy": 1},
    "QCV": {"qcv": 1, "MEFB.Qcv": 1, "VIFB.Qcv": 1},
    "SSIM": {"ssim": 1},
    "MEF-SSIM": {"mef_ssim": 1, "MEFB.MEF_SSIM": 1},
    "LPIPS": {"lpips": 1},
    "PSNR": {"psnr": 1},
    "CC": {"cc": 1, "Tang.CC": 1},
    "SSIM (truth)": {"ssim_truth": 1},
    "PSNR (truth)": {"psnr_truth": 1},
}
_LOWER_IN_PAPER = ("CE", "QCV", "LPIPS")

_OTHER_CE = (
    "the paper's CE differs from MEFB's own table for the same methods (MEFNet 4.257 against 3.030, PMGI 4.698 "
    "against 3.008), while its QCV agrees with it: another definition, not comparable"
)
_OTHER_MEF_SSIM = (
    "the paper's MEF-SSIM differs from MEFB's own table for the same methods (MEFNet 0.796 against 0.914, PMGI 0.822 "
    "against 0.936): another definition, not comparable"
)
_OTHER_LPIPS = "the paper does not say for which network and size its LPIPS is: perhaps not comparable"
_EXPOSURE_DOUBTS = {"CE": _OTHER_CE, "MEF-SSIM": _OTHER_MEF_SSIM, "LPIPS": _OTHER_LPIPS}


@dataclass(frozen=True)
class Column:
    """A column of a published table."""

    name: str
    """As printed."""
    metrics: Mapping[str, float]
    """Our metrics with the same definition, and the factors that convert its figures to ours; empty if we
    have none.
    """
    better: Better
    doubt: str | None = None
    """Why its figures are shown but not comparable, a sentence without its full stop."""


@dataclass(frozen=True)
class PublishedTable:
    """A published table about one data set."""

    key: str
    """The name that users give: `paper`, `mefb` or `vifb`."""
    data_set: str
    columns: tuple[Column, ...]
    rows: Mapping[str, tuple[float, ...]]
    """Figures by method, in the order of the columns."""
    source: str
    protocol: str
    """What the figures are averaged over, and what is known about how they were made."""
    grey: bool = False
    """The figures are of luminance."""

    def beside(self, grey: bool) -> PublishedTable:
        """Returns the table for comparison with figures of luminance or of colour. If it has the other kind, its
        columns get a doubt.
        """
        if grey == self.grey:
            return self
        rules = ("colours", "luminance")
        doubt = f"it is of {rules[self.grey]}, what was measured here of {rules[grey]}: not comparable"
        columns = tuple(replace(column, doubt=column.doubt or doubt) for column in self.columns)
        return replace(self, columns=columns)

    def figures(self, metric: str) -> dict[str, float]:
        """Returns figures by method, converted to one of our metrics; empty if no column corresponds to it."""
        for index, column in enumerate(self.columns):
            if metric in column.metrics:
                return {method: row[index] * column.metrics[metric] for method, row in self.rows.items()}
        return {}

    def doubt(self, metric: str) -> str | None:
        """Returns why the figures for one of our metrics are not comparable."""
        return next((column.doubt for column in self.columns if metric in column.metrics), None)

    def concerns(self, data_set: str) -> bool:
        """Says whether it is about a data set, however the name is spelled: `Real-MFF` and `realmff` are the same."""
        return _letters(data_set) == self.data_set

    def ranks(self) -> NDArray[np.float64]:
        """Returns the ranks of the published methods: [methods, columns], 1 for the best."""
        return ranks(np.array(list(self.rows.values())), [column.better for column in self.columns])


class Standing(NamedTuple):
    """The rank of a measured method in a published table."""

    mean_rank: float
    """1 is the best possible."""
    ranks: dict[str, float]
    """By column as printed, among all published methods and this one. Equal figures share the mean of their ranks."""
    places: int
    """The worst possible rank: the number of published methods plus one."""


class _Source(NamedTuple):
    file: str
    data_set: str
    key: str
    protocol: str
    grey: bool = False
    doubts: Mapping[str, str] = {}


_EXPOSURES = (
    "its table 1; SSIM, MEF-SSIM and similar metrics against both sources, CE by a definition of its own; the paper "
    "does not state picture size and colour rule"
)
_U2FUSION = (
    ". In the row of U2Fusion three figures come in a wrong order in the text that was read (3.438, 6.745, 0.332); "
    "the marks of the table (IFCNN third in CE on SICE, DeFusion third in IS) leave one place for each: IS 6.745, "
    "LPIPS 0.332, CE on SICE 3.438"
)
_FOCUS = "its table 2; SSIM and PSNR against both sources; the paper does not state how they are averaged"
_INFRARED = (
    "its table 3, by our metrics on luminance as far as is known: IFCNN, run anew with its authors' weights, comes"
)
_HALVED = ". Its Ssim, a sum over both sources, is halved to be our mean of them"

_SOURCES = (
    _Source("paper-mefb", "mefb", "paper", f"100 scenes of MEFB, {_EXPOSURES}{_U2FUSION}", doubts=_EXPOSURE_DOUBTS),
    _Source("paper-sice", "sice", "paper", f"SICE, {_EXPOSURES}{_U2FUSION}", doubts=_EXPOSURE_DOUBTS),
    _Source(
        "paper-mfifb",
        "mfifb",
        "paper",
        "Lytro, MFI-WHU and MFFW together, which share scenes with MFIFB but are not the same set, "
        f"{_FOCUS}. The table underlines MFFGAN's PSNR of 24.30 as the third best, though CU-Net has 24.88",
    ),
    _Source("paper-real-mff", "realmff", "paper", f"Real-MFF, {_FOCUS}, and against the truth where it says so"),
    _Source(
        "paper-tno",
        "tno",
        "paper",
        f"TNO, {_INFRARED} within 1 % of its row on RoadScene; on TNO it was not run",
        True,
    ),
    _Source("paper-roadscene", "roadscene", "paper", f"RoadScene, {_INFRARED} within 1 % of its row", True),
    _Source("mefb", "mefb", "mefb", "all 100 scenes, mean of R, G and B"),
    _Source("vifb", "vifb", "vifb", f"all 21 scenes, mean of R, G and B{_HALVED}"),
)

QUOTABLE = tuple(dict.fromkeys(source.key for source in _SOURCES))
"""What can be quoted."""


def published(keys: Sequence[str]) -> list[PublishedTable]:
    """Reads published tables.

    Args:
        keys: Names from `QUOTABLE`.

    Raises:
        EvaluationError: A key names no published table.

    Example:
        >>> [table] = published(["mefb"])
        >>> len(table.rows), len(table.columns), table.rows["MEFNet"][0]
        (21, 20, 3.03)
    """
    unknown = [key for key in keys if key not in QUOTABLE]
    if unknown:
        raise EvaluationError(
            f"no published figures are called {unknown[0]!r}; expected some of {', '.join(QUOTABLE)}"
        )
    return [_read(source) for source in _SOURCES if source.key in keys]


def standing(table: PublishedTable, means: Mapping[str, float]) -> Standing | None:
    """Ranks a measured method within a published table, on its own among the published methods.

    Args:
        table: The published table.
        means: Means of the measured method, by our metrics' names.

    Returns:
        None if no column was measured. Columns that are not comparable do not count.
    """
    found: dict[str, float] = {}
    for column in table.columns:
        ours = [name for name in column.metrics if np.isfinite(means.get(name, np.nan))]
        if ours and column.doubt is None:
            values = np.array([[means[ours[0]]], *([figure] for figure in table.figures(ours[0]).values())])
            found[column.name] = float(ranks(values, [column.better])[0, 0])
    if not found:
        return None
    return Standing(float(np.mean(list(found.values()))), found, len(table.rows) + 1)


def _read(source: _Source) -> PublishedTable:
    text = resources.files(__package__).joinpath(f"{source.file}.csv").read_text("utf-8")
    header, *lines = csv.reader(text.splitlines())
    make = _paper_column if source.key == "paper" else _toolkit_column
    columns = tuple(make(name, source) for name in header[1:])
    rows = {method: tuple(map(float, figures)) for method, *figures in lines}
    origin = {"paper": PAPER, "mefb": _MEFB, "vifb": _VIFB}[source.key]
    return PublishedTable(source.key, source.data_set, columns, rows, origin, source.protocol, source.grey)


def _paper_column(name: str, source: _Source) -> Column:
    better: Better = "lower" if name in _LOWER_IN_PAPER else "higher"
    return Column(name, _PAPER_METRICS.get(name, {}), better, source.doubts.get(name))


def _toolkit_column(name: str, source: _Source) -> Column:
    toolkits = ("MEFB", "VIFB") if name in _ALIKE else (source.key.upper(),)
    variants = [f"{toolkit}.{name}" for toolkit in toolkits]
    if name in _DEVIATION:
        variants.append(_DEVIATION[name])
    metrics = dict.fromkeys(variants, 1.0)
    metrics |= {metric.name: 1.0 for metric in METRICS.values() if metric.same_as in variants}
    if name == "Ssim":
        metrics["ssim"] = _SSIM_FACTOR
    better: Better = "lower" if name in _LOWER_IN_TOOLKITS else "higher"
    return Column(name, metrics, better)


def _letters(name: str) -> str:
    return "".join(sign for sign in name.lower() if sign.isalnum())
