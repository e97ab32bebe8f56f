"""How many features have which variance."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from trunkline.report.charts.canvas import DROPPED, KEPT, LIMIT, SUPERSCRIPTS, drawing, inline, style
from trunkline.report.data import LayerResult

BINS = 44


def variance_histogram(layer: LayerResult) -> Markup | None:
    """Draw how many features have which variance, on a log axis, kept and dropped apart.

    Parameters
    ----------
    layer : LayerResult
        Variances (dim,) float64, may hold exact zeros and NaN; zeros get a bar of their own left of the axis.

    Returns
    -------
    Markup or None
        Inline SVG; None where no variance is positive, so that there is no axis to draw.
    """
    positive = np.isfinite(layer.variances) & (layer.variances > 0)
    if not positive.any():
        return None
    logs = np.log10(layer.variances[positive])
    edges = _edges(logs, layer.threshold)
    with drawing() as (figure, axes):
        _stack(axes, edges, logs, layer.kept[positive])
        zero = layer.variances == 0
        _zero_bar(axes, edges, int((zero & ~layer.kept).sum()), int((zero & layer.kept).sum()))
        _ticks(axes, edges, has_zero=bool(zero.any()))
        style(axes, "variance over the training rows", "features")
        if layer.threshold > 0:
            axes.axvline(np.log10(layer.threshold), color=LIMIT, linewidth=1.6, linestyle=(0, (4, 3)))
    dropped = int((~layer.kept).sum())
    return inline(
        figure, "variances", f"Histogram of {layer.dim:,} feature variances on a log axis, {dropped:,} of them dropped"
    )


def _edges(logs: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    low, high = float(logs.min()), float(logs.max())
    if threshold > 0:
        low, high = min(low, np.log10(threshold)), max(high, np.log10(threshold))
    if high - low < 1:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, BINS + 1)


def _stack(axes: Axes, edges: NDArray[np.float64], logs: NDArray[np.float64], kept: NDArray[np.bool_]) -> None:
    width = edges[1] - edges[0]
    dropped_heights, _ = np.histogram(logs[~kept], edges)
    kept_heights, _ = np.histogram(logs[kept], edges)
    axes.bar(edges[:-1], dropped_heights, width * 0.88, align="edge", color=DROPPED)
    axes.bar(edges[:-1], kept_heights, width * 0.88, bottom=dropped_heights, align="edge", color=KEPT)


def _zero_bar(axes: Axes, edges: NDArray[np.float64], dropped: int, kept: int) -> None:
    width = edges[1] - edges[0]
    if dropped + kept:
        axes.bar([edges[0] - 4 * width], [dropped], width * 1.8, color=DROPPED)
        axes.bar([edges[0] - 4 * width], [kept], width * 1.8, bottom=[dropped], color=KEPT)


def _ticks(axes: Axes, edges: NDArray[np.float64], *, has_zero: bool) -> None:
    step = max(1, round((edges[-1] - edges[0]) / 7))
    decades = [decade for decade in range(int(np.ceil(edges[0])), int(np.floor(edges[-1])) + 1) if decade % step == 0]
    zero = [edges[0] - 4 * (edges[1] - edges[0])] if has_zero else []
    axes.set_xticks([*zero, *decades], ["0"] * len(zero) + [f"10{str(decade).translate(SUPERSCRIPTS)}" for decade in decades])
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
