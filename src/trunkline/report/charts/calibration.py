"""Reliability diagram: how often a head is right, by how sure it was."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from trunkline.metrics import Reliability
from trunkline.report.charts.canvas import DROPPED, INK, KEPT, drawing, inline, style


def reliability(bins: Reliability) -> Markup | None:
    """Bars of accuracy by confidence with a dot at each bin's mean, and below them how many predictions each has.

    Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML 2017. None where nothing was binned.
    """
    there = bins.count > 0
    if not there.any():
        return None
    edges = np.linspace(0, 1, len(bins.count) + 1)
    middle, width = (edges[:-1] + edges[1:]) / 2, 1 / len(bins.count)
    with drawing(4.9, 4.6) as (figure, axes):
        axes.remove()
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1))
        upper.plot([0, 1], [0, 1], color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        upper.bar(middle[there], bins.accuracy[there], width * 0.88, color=KEPT, alpha=0.45)
        upper.plot(bins.confidence[there], bins.accuracy[there], "o", color=KEPT, markersize=5)
        upper.set(xlim=(0, 1), ylim=(0, 1.02))
        style(upper, "", "share that was right")
        lower.bar(middle[there], bins.count[there] / bins.count.sum(), width * 0.88, color=DROPPED)
        lower.set(ylim=(0, 1), yticks=(0, 0.5, 1))
        style(lower, "how sure the head was", "of all")
    return inline(
        figure, "reliability", f"Reliability diagram of {int(bins.count.sum()):,} predictions; the dashed line is perfect"
    )
