"""The report of an evaluation: a page to look at, tables to quote, and data to compute with."""

from __future__ import annotations

from defusion.evaluation.report.write import write_report

__all__ = ["write_report"]
