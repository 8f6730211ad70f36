"""Ranks measured methods among published ones over the same scenes.

    defusion evaluate BENCH/vifb --methods defusion,average -o REPORT --metrics VIFB.Cross_entropy,VIFB.Entropy,...
    python benchmarks/ranks.py REPORT/results.json TABLE.csv

`--published` of the report ranks by printed means, which are over all scenes of a benchmark. TABLE.csv has the same
columns, but means over only the scenes that were measured. They come from the figures for each scene that the authors
of a benchmark publish. The script prints the mean rank and the place of each measured method, alone among the
published ones, and of the best published ones among themselves.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from defusion.evaluation.published import PublishedTable, published, standing

#: Number of published methods that are listed.
LISTED = 3


def table_of(path: Path) -> PublishedTable:
    """Returns the published table that has the columns of a file, filled with the figures of the file.

    Raises:
        SystemExit: No published table has those columns.
    """
    header, *lines = csv.reader(path.read_text(encoding="utf-8").splitlines())
    for table in published(["mefb", "vifb"]):
        if [column.name for column in table.columns] == header[1:]:
            return replace(table, rows={method: tuple(map(float, figures)) for method, *figures in lines})
    raise SystemExit(f"{path}: the columns are those of no published table: {', '.join(header[1:])}")


def rows_of(table: PublishedTable, results: Path) -> Iterator[tuple[str, float, str]]:
    """Yields name, mean rank and place of each method: measured ones first, then the best published ones."""
    of_published = table.ranks().mean(1)
    facts = json.loads(results.read_text(encoding="utf-8"))
    for each in facts["sets"]:
        for method, scores in each["methods"].items():
            means = {name: np.nan if of["mean"] is None else of["mean"] for name, of in scores["metrics"].items()}
            found = standing(table, means)
            if found is not None:
                place = 1 + int((of_published < found.mean_rank).sum())
                label = f"{method}, {each['name']}, {each['scenes']} scenes, {len(found.ranks)} columns"
                yield label, found.mean_rank, f"{place} of {found.places}"
    for place, index in enumerate(of_published.argsort()[:LISTED], 1):
        yield f"{list(table.rows)[index]}*", float(of_published[index]), f"{place} of {len(table.rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("table", type=Path)
    options = parser.parse_args()
    print("| method (*: published) | mean rank | place |\n|---|---:|---:|")
    for label, mean_rank, place in rows_of(table_of(options.table), options.results):
        print(f"| {label} | {mean_rank:.2f} | {place} |")


if __name__ == "__main__":
    main()
