"""Numbers about fused pictures: metrics, data sets, methods to stand beside, reports and figures."""
