"""Published figures to compare with: the paper's tables, and those of two benchmarks' authors."""

from __future__ import annotations

from defusion.evaluation.published.tables import QUOTABLE, Column, PublishedTable, Standing, published, standing

__all__ = ["QUOTABLE", "Column", "PublishedTable", "Standing", "published", "standing"]
