"""Tables as text: Markdown for notes, LaTeX for papers. Both have the marks of the page."""

from __future__ import annotations

import re

from defusion.evaluation.report.tables import ARROWS, DASH, MINUS, Cell, SetTable
from defusion.evaluation.statistics import LEVEL

LEGEND = (
    "Means over scenes. The best, second and third of the measured methods are marked. "
    f"≈: does not differ significantly from the best (Wilcoxon signed-rank, Holm-corrected, {LEVEL:.0%}). "
    "°: some scenes have no score; places and ranks use the scenes that all methods have. "
    "*: quoted, not measured here; without marks and ranks. "
    "?: a quoted figure with another definition."
)

_LATEX_PLACES = {1: r"\textcolor{red}{\textbf{%s}}", 2: r"\textbf{%s}", 3: r"\underline{%s}"}

_LATEX_SPECIAL = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    MINUS: "$-$",
    DASH: "--",
    "≈": r"$\approx$",
    "°": r"$^\circ$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}

_MARKDOWN_PLACES = {1: "**%s**¹", 2: "**%s**", 3: "<u>%s</u>"}


def markdown(tables: list[SetTable]) -> str:
    """Returns all tables in Markdown: best **bold**¹, second **bold**, third underlined."""
    parts = ["# Results", f"{LEGEND} Best: **bold**¹; second: **bold**; third: <u>underlined</u>."]
    for table in tables:
        head = ["method", *_headers(table), "mean rank"]
        lines = [[markdown_escaped(name) for name in head], ["---", *["---:"] * (len(head) - 1)]]
        for row in table.rows:
            figures = [_MARKDOWN_PLACES.get(cell.place, "%s") % cell.text + signs(cell) for cell in row.figures]
            lines.append([markdown_escaped(row.label), *figures])
        parts.append(f"## {markdown_escaped(table.block.data_set)}, {_scenes(table)}")
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        parts += [markdown_escaped(note) for note in table.notes]
    return "\n\n".join(parts) + "\n"


def latex(tables: list[SetTable]) -> str:
    """Returns all tables in LaTeX: best red and bold, second bold, third underlined."""
    needs = r"% Needs \usepackage{booktabs}, \usepackage{xcolor} and \usepackage{graphicx}."
    return "\n\n".join([needs, *map(_latex_table, tables)]) + "\n"


def latex_escaped(text: str) -> str:
    """Escapes text for LaTeX."""
    return "".join(_LATEX_SPECIAL.get(sign, sign) for sign in text)


def markdown_escaped(text: str) -> str:
    """Escapes text for Markdown, including tables."""
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", text)


def signs(cell: Cell) -> str:
    """Returns the marks after a figure: no significant difference, missing scenes, another definition."""
    return "≈" * cell.tied + "°" * (cell.missing > 0) + "?" * (cell.doubt is not None)


def _latex_table(table: SetTable) -> str:
    head = ["Method", *_headers(table), "Mean rank"]
    caption = latex_escaped(f"{table.block.data_set}, {_scenes(table)}. {LEGEND} ")
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}\textcolor{{red}}{{\textbf{{Best}}}}, \textbf{{second}}, \underline{{third}}.}}",
        r"\resizebox{\linewidth}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"\toprule",
        " & ".join(map(latex_escaped, head)) + r" \\",
        r"\midrule",
    ]
    before = None
    for row in table.rows:
        if row.quoted is not before:
            lines.append(r"\midrule")
        before = row.quoted
        figures = [
            _LATEX_PLACES.get(cell.place, "%s") % latex_escaped(cell.text) + latex_escaped(signs(cell))
            for cell in row.figures
        ]
        lines.append(" & ".join([latex_escaped(row.label), *figures]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}}"]
    lines += [rf"\par\footnotesize {latex_escaped(note)}" for note in table.notes]
    return "\n".join([*lines, r"\end{table}"])


def _headers(table: SetTable) -> list[str]:
    return [f"{metric.name} {ARROWS[metric.better]}".strip() for metric in table.metrics]


def _scenes(table: SetTable) -> str:
    count = len(table.block.scenes)
    return f"{count} scene{'s' * (count != 1)}"
