"""The plots of the report."""

from trunkline.report.charts.calibration import reliability
from trunkline.report.charts.cloud import Cloud, Group, Hit, cloud
from trunkline.report.charts.confusion import Cell, confusion_cells, confusion_image
from trunkline.report.charts.curves import filter_curve, learning_curve
from trunkline.report.charts.drift import drift_bars
from trunkline.report.charts.histogram import variance_histogram
from trunkline.report.charts.pareto import pareto
from trunkline.report.charts.scatter import truth_against_prediction

__all__ = [
    "Cell",
    "Cloud",
    "Group",
    "Hit",
    "cloud",
    "confusion_cells",
    "confusion_image",
    "drift_bars",
    "filter_curve",
    "learning_curve",
    "pareto",
    "reliability",
    "truth_against_prediction",
    "variance_histogram",
]
