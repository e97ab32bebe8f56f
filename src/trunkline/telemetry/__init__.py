"""Figures for Prometheus: what runs count, the folder in which they leave it, and the endpoint that serves it.

Where TRUNKLINE_METRICS_DIR is not set nothing is counted, written or imported.
"""

from trunkline.telemetry.counting import add, raise_to

__all__ = ["add", "raise_to"]
