"""Curves of scores: against features kept, and against labelled images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, NullLocator

from trunkline.heads.curves import LearningPoint
from trunkline.report.charts.canvas import DROPPED, KEPT, LIMIT, drawable, drawing, inline, style
from trunkline.report.data import FilterPoint

MOST_TICKS = 8


def filter_curve(points: Sequence[FilterPoint], measure: str) -> Markup | None:
    """Score against features kept, the filter's own point marked, and the size of what is kept; None for fewer than two points."""
    points = sorted((point for point in points if np.isfinite(point.score)), key=lambda point: point.kept)
    if len({point.kept for point in points}) < 2:
        return None
    kept, scores, sizes = (np.array([getattr(point, name) for point in points], float) for name in ("kept", "score", "bytes"))
    with drawing() as (figure, axes):
        size = axes.twinx()
        size.fill_between(kept, sizes / 2**20, color=DROPPED, alpha=0.3, linewidth=0)
        axes.plot(kept, scores, "-o", color=KEPT, linewidth=2, markersize=5)
        now = np.array([point.current for point in points])
        axes.plot(kept[now], scores[now], "o", color=LIMIT, markersize=10)
        style(axes, "features kept", drawable(measure))
        style(size, "", "MiB stored", grid="x")
        size.set_ylim(bottom=0)
        size.yaxis.set_major_locator(MaxNLocator(nbins=4))
        _room_for(axes, scores, scores)
        axes.set_zorder(size.get_zorder() + 1)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    return inline(
        figure, "filter", f"{drawable(measure)} against features kept, at {len(points)} thresholds, and the bytes they take"
    )


def learning_curve(points: Sequence[LearningPoint], measure: str) -> Markup | None:
    """Score against labelled images, on a log axis, with the lowest and highest of the draws; None without a point."""
    points = sorted((point for point in points if np.isfinite(point.score) and point.rows > 0), key=lambda point: point.rows)
    if not points:
        return None
    by_class = all(point.per_class > 0 for point in points)
    at = np.array([point.per_class if by_class else point.rows for point in points], float)
    scores, low, high = (np.array([getattr(point, name) for point in points], float) for name in ("score", "lowest", "highest"))
    with drawing() as (figure, axes):
        axes.fill_between(at, low, high, color=KEPT, alpha=0.22, linewidth=0)
        axes.vlines(at, low, high, color=KEPT, linewidth=1.2)
        axes.plot(at, scores, "-o", color=KEPT, linewidth=2, markersize=5)
        axes.set_xscale("log")
        ticks = at[:: -(-len(at) // MOST_TICKS)]
        axes.xaxis.set_major_locator(FixedLocator(ticks.tolist()))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        style(axes, "labelled images a class" if by_class else "labelled images", drawable(measure))
        _room_for(axes, np.fmin(low, scores), np.fmax(high, scores))
    return inline(
        figure, "learning", f"{drawable(measure)} against labelled images, at {len(points)} sizes of the training set"
    )


def _room_for(axes: Axes, low: np.ndarray, high: np.ndarray) -> None:
    """Room around what is drawn, so that noise of a thousandth does not fill the plot; and no more than 1 where a score ends there."""
    bottom, top = float(np.nanmin(low)), float(np.nanmax(high))
    margin = max(0.12 * (top - bottom), 0.02)
    axes.set_ylim(bottom - margin, min(top + margin, 1.01) if top <= 1 else top + margin)
