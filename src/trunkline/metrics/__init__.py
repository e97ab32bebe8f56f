"""How well a head does on a split: figures, their 95 % intervals, and what a report draws, for each kind of target."""

from trunkline.metrics.classes import Metrics
from trunkline.metrics.measuring import AnyMetrics, measure, metrics_of_json
from trunkline.metrics.multilabel import MultilabelMetrics
from trunkline.metrics.parts import Grid, Intervals, Reliability
from trunkline.metrics.regression import RegressionMetrics

__all__ = [
    "AnyMetrics",
    "Grid",
    "Intervals",
    "Metrics",
    "MultilabelMetrics",
    "RegressionMetrics",
    "Reliability",
    "measure",
    "metrics_of_json",
]
