"""Measures fused pictures: metrics, data sets, methods to compare with, reports and figures."""
