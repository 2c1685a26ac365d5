"""Metrics, results, the paper's tables and figures."""
