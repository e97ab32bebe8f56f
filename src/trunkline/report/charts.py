"""The plots of the report. Colours are CSS variables of the page, so that each plot follows light and dark."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from trunkline.report.data import LayerResult

# Stand-ins that Matplotlib can draw with; `_inline` swaps them for the page's own colours.
INK, RULE, KEPT, DROPPED, LIMIT = "#010101", "#020202", "#030303", "#040404", "#050505"
CSS_COLOURS = {INK: "--soft", RULE: "--rule", KEPT: "--accent", DROPPED: "--muted", LIMIT: "--wrong"}
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
BINS = 44

RIGHT_RGB, WRONG_RGB = (42, 127, 178), (217, 95, 30)  # mid-tones, legible on white and on near-black

COLOURS = 10  # hues in page.css
STYLES = [f"c{hue}" for hue in range(COLOURS)] + [f"c{hue} triangle" for hue in range(COLOURS)]
MOST_POINTS = 6_000
WIDTH, MARGIN, DOT = 480.0, 16.0, 6.0
CAPTION, LETTER = 14, 8.5  # longest caption, and the width of a letter


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
    with matplotlib.rc_context({"font.size": 12}):
        figure = Figure(figsize=(6.4, 3.3), layout="constrained")
        axes = figure.add_subplot()
        _stack(axes, edges, logs, layer.kept[positive])
        zero = layer.variances == 0
        _zero_bar(axes, edges, int((zero & ~layer.kept).sum()), int((zero & layer.kept).sum()))
        _style(axes, edges, has_zero=bool(zero.any()))
        if layer.threshold > 0:
            axes.axvline(np.log10(layer.threshold), color=LIMIT, linewidth=1.6, linestyle=(0, (4, 3)))
    dropped = int((~layer.kept).sum())
    return _inline(
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


def _style(axes: Axes, edges: NDArray[np.float64], *, has_zero: bool) -> None:
    step = max(1, round((edges[-1] - edges[0]) / 7))
    decades = [decade for decade in range(int(np.ceil(edges[0])), int(np.floor(edges[-1])) + 1) if decade % step == 0]
    zero = [edges[0] - 4 * (edges[1] - edges[0])] if has_zero else []
    axes.set_xticks([*zero, *decades], ["0"] * len(zero) + [f"10{str(decade).translate(SUPERSCRIPTS)}" for decade in decades])
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.set_xlabel("variance over the training rows", color=INK, labelpad=8)
    axes.set_ylabel("features", color=INK)
    axes.tick_params(colors=INK, length=0, pad=6)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.spines["bottom"].set(visible=True, color=RULE)


def _inline(figure: Figure, name: str, label: str) -> Markup:
    """SVG of a figure without size, date or metadata; ids carry `name`, since all plots share one document."""
    figure.patch.set_alpha(0)
    figure.axes[0].patch.set_alpha(0)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Creator": None, "Date": None, "Format": None, "Type": None})
    body = buffer.getvalue().partition("<svg")[2]
    head, _, body = body.partition(">")
    box = re.search(r'viewBox="[^"]+"', head)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    for stand_in, variable in CSS_COLOURS.items():
        body = body.replace(stand_in, f"var({variable})")
    return Markup(f'<svg class="plot" {box[0] if box else ""} role="img" aria-label="{escape(label)}">{body}')


@dataclass(frozen=True)
class Cell:
    """One cell of a confusion matrix; `strength` in [0, 1] is how strongly it is coloured."""

    count: int
    strength: float
    right: bool


def confusion_cells(confusion: NDArray[np.int64]) -> list[list[Cell]]:
    """Rows of cells of a (classes, classes) confusion matrix, each coloured by its share of the row's truth."""
    strength = _strength(confusion)
    size = range(len(confusion))
    return [[Cell(int(confusion[i, j]), round(float(strength[i, j]), 3), i == j) for j in size] for i in size]


def confusion_image(confusion: NDArray[np.int64]) -> str:
    """Paint a confusion matrix too large for numbers, a pixel a cell, as a transparent PNG in a `data:` URI."""
    rgba = np.empty((*confusion.shape, 4), np.uint8)
    rgba[..., :3] = np.where(np.eye(len(confusion), dtype=bool)[..., None], RIGHT_RGB, WRONG_RGB)
    rgba[..., 3] = np.round(255 * _strength(confusion))
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _strength(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the row; its cube root beside the diagonal, so that rare mistakes are seen too."""
    share: NDArray[np.float64] = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    strength = np.cbrt(share)
    np.fill_diagonal(strength, share.diagonal())
    return strength


@dataclass(frozen=True)
class Group:
    """The points of one class: an SVG path, the CSS class that colours it, and a caption where there is room for one."""

    label: str
    count: int
    style: str
    path: str
    centre: tuple[float, float]
    caption: str = ""


@dataclass(frozen=True)
class Cloud:
    """Points by class for an SVG of `width` x `height`; `others` counts the classes that share the grey, last in `groups`."""

    width: float
    height: float
    groups: Sequence[Group]
    others: int
    shown: int


def cloud(points: NDArray[np.float64], labels: Sequence[str]) -> Cloud | None:
    """Group the 2-D view of features by class.

    Parameters
    ----------
    points : (n, 2) float64
        Rows that are not finite are left out; of more than `MOST_POINTS` every k-th is taken.
    labels : sequence of str
        One a point, or empty. With more than 20 classes the most frequent ones are coloured and the rest is grey.

    Returns
    -------
    Cloud or None
        None where there is no point to draw.
    """
    names = np.array([label or "no label" for label in labels] if len(labels) else ["no label"] * len(points), dtype=object)
    finite = np.isfinite(points).all(axis=1)
    every = max(1, -(-int(finite.sum()) // MOST_POINTS))
    points, names = points[finite][::every], names[finite][::every]
    if not len(points):
        return None
    placed, height = _place(points)
    frequent = Counter(names).most_common()
    coloured = frequent if len(frequent) <= len(STYLES) else frequent[:COLOURS]
    named = sorted((name for name, _ in coloured), key=str.casefold)
    groups = [_group(name, style, placed[names == name]) for name, style in zip(named, STYLES, strict=False)]
    if len(groups) > 1:  # a single class has nothing to be told from
        groups = _captioned(groups)
    rest = ~np.isin(names, named)
    if rest.any():
        groups.append(_group("other classes", "rest", placed[rest]))
    return Cloud(WIDTH, height, groups, len(frequent) - len(named), len(points))


def _place(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Fit the points into the drawing, the same scale both ways, y upwards; also the drawing's height."""
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    height = float(np.clip(WIDTH * span[1] / max(span[0], 1e-12), 0.6 * WIDTH, WIDTH)) if span[0] > 0 else 0.6 * WIDTH
    room = np.array([WIDTH, height]) - 2 * MARGIN
    scale = float(np.min(room / np.maximum(span, 1e-12)))
    offset = np.array([WIDTH, height]) / 2 - scale * span / 2
    placed = (points - low) * scale + offset
    placed[:, 1] = height - placed[:, 1]
    return placed, round(height, 1)


def _captioned(groups: Sequence[Group]) -> list[Group]:
    """Write each class's name over its points, unless it would cover a name already written."""
    written: list[tuple[float, float, float]] = []
    result = []
    for group in groups:
        caption = group.label if len(group.label) <= CAPTION else group.label[: CAPTION - 1].rstrip() + "…"
        (x, y), half = group.centre, LETTER * len(caption) / 2
        room = MARGIN / 2 + half <= x <= WIDTH - half - MARGIN / 2
        if room and all(abs(x - left) > half + width or abs(y - top) > 2 * LETTER for left, top, width in written):
            written.append((x, y, half))
            group = replace(group, caption=caption)
        result.append(group)
    return result


def _group(label: str, style: str, placed: NDArray[np.float64]) -> Group:
    """A dot is a line of no length with round ends; a triangle is a closed path."""
    stroke = "l-3.4 6h6.8z" if "triangle" in style else "h0"
    lift = DOT / 2 if "triangle" in style else 0
    path = "".join(f"M{x:.1f} {y - lift:.1f}{stroke}" for x, y in placed)
    x, y = np.median(placed, axis=0)
    return Group(label, len(placed), style, path, (round(float(x), 1), round(float(y), 1)))
