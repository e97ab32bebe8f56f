"""Two runs as one HTML page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trunkline.comparing.differences import Comparison, Figure, HeadPair
from trunkline.metrics.names import OF_THE_TARGET, in_words
from trunkline.report.templates import environment, policy


def render(found: Comparison) -> str:
    """Lay a comparison out as one self-contained HTML document without scripts; the same comparison gives the same text."""
    heads = [(pair, [_row(figure) for figure in pair.figures]) for pair in found.heads]
    page = (
        environment()
        .get_template("comparison.html.j2")
        .render(
            found=found,
            verdict=verdict(found),
            heads=heads,
            quantities=[(each.name, *each.words) for each in found.quantities],
            policy=policy(""),
        )
    )
    return page.lstrip()


def verdict(found: Comparison) -> str:
    """Say in one sentence what became of the heads that both runs have."""
    both = [pair for pair in found.heads if pair.first and pair.second and pair.figures]
    if not both:
        return "The runs have no head in common."
    return "; ".join(_clause(pair) for pair in both) + "."


def _clause(pair: HeadPair) -> str:
    figure = pair.figures[0]
    came = f"{pair.kind}: {in_words(figure.first, figure.name)} → {in_words(figure.second, figure.name)}"
    if figure.better is None:
        return came if math.isnan(figure.difference) else f"{came}, the same"
    clear = {None: "", True: ", beyond the intervals", False: ", within the intervals: it may be chance"}[figure.apart]
    return f"{came}, {'better' if figure.better else 'worse'}{clear}"


@dataclass(frozen=True)
class Mark:
    """A value and its interval on a line from the least to the most, as shares of the line."""

    at: float
    left: float
    width: float


@dataclass(frozen=True)
class Row:
    """A figure in words, and marks for both runs where they can be drawn."""

    figure: Figure
    first: str
    second: str
    difference: str
    marks: Sequence[Mark | None]


def _row(figure: Figure) -> Row:
    first, second = (in_words(value, figure.name) for value in (figure.first, figure.second))
    return Row(figure, first, second, in_words(figure.difference, figure.name, signed=True), _marks(figure))


def _marks(figure: Figure) -> list[Mark | None]:
    sides = [(figure.first, figure.first_interval), (figure.second, figure.second_interval)]
    spans = [(value, *(interval or (value, value))) for value, interval in sides if math.isfinite(value)]
    if not spans:
        return []
    low, high = min(min(span) for span in spans), max(max(span) for span in spans)
    least = 0.01 if figure.name not in OF_THE_TARGET else 1e-9  # so that a thousandth does not look like a leap
    margin = max(0.15 * (high - low), least)
    low, length = low - margin, high - low + 2 * margin

    def mark(value: float, interval: tuple[float, float] | None) -> Mark | None:
        if not math.isfinite(value):
            return None
        left, right = interval or (value, value)
        return Mark((value - low) / length, (left - low) / length, (right - left) / length)

    return [mark(*side) for side in sides]
