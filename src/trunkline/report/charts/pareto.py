"""Quality against cost: every cut of every network, and the front of those that nothing beats in both."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from trunkline.probing.ranking import CutScore, front, recommended
from trunkline.report.charts.canvas import INK, LIMIT, SERIES, drawable, drawing, inline, style

MARKERS = ("o", "s", "D", "^", "v")  # a network beyond the tenth has the first one's colour and another marker
LETTER, LINE = 0.0125, 0.055  # of a label, in shares of the plot's width and height
TURN = 0.8  # of the plot's width: labels of points to the right of it stand to their left


def pareto(cuts: Sequence[CutScore]) -> Markup | None:
    """Macro-F1 of the probe against images/s on a log axis, the front as a line, the recommended cut in a ring; None without a cut."""
    cuts = [cut for cut in cuts if math.isfinite(cut.f1) and cut.images_per_second > 0]
    if not cuts:
        return None
    worth, use = front(cuts), recommended(cuts)
    with drawing(9.2, 5.2) as (figure, axes):
        axes.set_xscale("log")
        axes.plot([cut.images_per_second for cut in worth], [cut.f1 for cut in worth], color=INK, linewidth=1.2, zorder=1)
        for number, entry in enumerate(entries_in(cuts)):
            own = [cut for cut in cuts if cut.entry == entry]
            colour, marker = SERIES[number % len(SERIES)], MARKERS[number // len(SERIES) % len(MARKERS)]
            place = [cut.images_per_second for cut in own], [cut.f1 for cut in own]
            axes.errorbar(*place, [cut.spread for cut in own], fmt="none", ecolor=colour, elinewidth=1, alpha=0.35, zorder=2)
            axes.plot(*place, marker, color=colour, markersize=7, zorder=3)
        axes.plot(use.images_per_second, use.f1, "o", markersize=15, markeredgewidth=2, fillstyle="none", color=LIMIT, zorder=4)
        axes.xaxis.set_major_locator(LogLocator(10, (1, 2, 5), numticks=12))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_locator(MaxNLocator(nbins=7))
        _room_for(axes, cuts)
        style(axes, "images/s (faster to the right)", "macro-F1 of the linear probe", grid="both")
        _label(axes, worth, use)
    return inline(figure, "pareto", f"Macro-F1 against images/s of {len(cuts)} cuts; {len(worth)} of them are worth their cost")


def entries_in(cuts: Sequence[CutScore]) -> list[str]:
    """The networks in the order of their colours: by name, so that a better score changes no colour."""
    return sorted({cut.entry for cut in cuts})


def _room_for(axes: Axes, cuts: Sequence[CutScore]) -> None:
    speeds = [cut.images_per_second for cut in cuts]
    margin = max((max(speeds) / min(speeds)) ** 0.09, 1.1)
    axes.set_xlim(min(speeds) / margin, max(speeds) * margin)
    low, high = min(cut.f1 - cut.spread for cut in cuts), max(cut.f1 + cut.spread for cut in cuts)
    room = max(0.07 * (high - low), 0.01)
    axes.set_ylim(low - room, high + room)


def _label(axes: Axes, worth: Sequence[CutScore], use: CutScore) -> None:
    """Layers' names beside the front, the recommended one first, and no other one that it would cover."""
    to_axes = (axes.transData + axes.transAxes.inverted()).transform
    axes.get_figure().draw_without_rendering()  # type: ignore[union-attr]
    written: list[tuple[float, float, float]] = []  # left end, right end, height
    for cut in [use, *sorted(worth, key=lambda cut: -cut.f1)]:
        x, y = to_axes((cut.images_per_second, cut.f1))
        name, turned = drawable(cut.layer), x > TURN
        length = LETTER * len(name)
        left = x - length if turned else x
        covers = any(left < right and start < left + length and abs(y - top) < LINE for start, right, top in written)
        if name != cut.layer or covers:
            continue
        written.append((left, left + length, y))
        axes.annotate(
            name,
            (cut.images_per_second, cut.f1),
            xytext=(-9 if turned else 9, -4 if turned else 7),
            textcoords="offset points",
            ha="right" if turned else "left",
            fontsize=10,
            color=INK,
            parse_math=False,
        )
