"""What all plots share: Matplotlib draws with stand-in colours, which become CSS variables of the page, for light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Stand-ins that Matplotlib can draw with; `inline` swaps them for the page's own colours.
INK, RULE, KEPT, DROPPED, LIMIT = "#010101", "#020202", "#030303", "#040404", "#050505"
SERIES = tuple(f"#0601{hue:02d}" for hue in range(10))  # of the ten hues in page.css
CSS_COLOURS = {INK: "--soft", RULE: "--rule", KEPT: "--accent", DROPPED: "--muted", LIMIT: "--wrong"}
CSS_COLOURS |= {stand_in: f"--c{hue}" for hue, stand_in in enumerate(SERIES)}
LONGEST_LABEL = 24
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@contextmanager
def drawing(width: float = 6.4, height: float = 3.3) -> Iterator[tuple[Figure, Axes]]:
    """A figure with one plot, in the page's size of letters."""
    with matplotlib.rc_context({"font.size": 12}):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.add_subplot()


def drawable(text: str) -> str:
    """The text where Matplotlib's font has its letters and there is room for it; else `score`."""
    return text if text and len(text) <= LONGEST_LABEL and text.isprintable() and max(text) <= "\xff" else "score"


def style(axes: Axes, xlabel: str, ylabel: str, grid: Literal["x", "y", "both"] = "y") -> None:
    """Labels, a faint grid, and no frame but the line below."""
    axes.set_xlabel(xlabel, color=INK, labelpad=8, parse_math=False)
    axes.set_ylabel(ylabel, color=INK, labelpad=12, parse_math=False)  # a phone's letters are larger
    axes.tick_params(which="both", colors=INK, length=0, pad=6)
    axes.grid(axis=grid, color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.spines["bottom"].set(visible=True, color=RULE)


def inline(figure: Figure, name: str, label: str) -> Markup:
    """SVG of a figure without size, date or metadata; ids carry `name`, since all plots share one document."""
    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
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
