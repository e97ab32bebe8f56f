"""The 2-D view of features: points by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trunkline.report.data import Picture

COLOURS = 10  # hues in page.css
STYLES = [f"c{hue}" for hue in range(COLOURS)] + [f"c{hue} triangle" for hue in range(COLOURS)]
MOST_POINTS = 6_000
WIDTH, MARGIN, DOT = 480.0, 16.0, 6.0
CAPTION, LETTER = 14, 8.5  # longest caption, and the width of a letter


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
class Hit:
    """A point whose image can be seen, where it lies."""

    x: float
    y: float
    label: str
    picture: Picture


@dataclass(frozen=True)
class Cloud:
    """Points by class for an SVG of `width` x `height`; `others` counts the classes that share the grey, last in `groups`."""

    width: float
    height: float
    groups: Sequence[Group]
    others: int
    shown: int
    hits: Sequence[Hit] = ()


def cloud(points: NDArray[np.float64], labels: Sequence[str], pictures: Mapping[int, Picture] | None = None) -> Cloud | None:
    """Group the 2-D view of features by class.

    Parameters
    ----------
    points : (n, 2) float64
        Rows that are not finite are left out; of more than `MOST_POINTS` every k-th is taken.
    labels : sequence of str
        One a point, or empty. With more than 20 classes the most frequent ones are coloured and the rest is grey.
    pictures : mapping of int to Picture
        Images of some points, by the point's number.

    Returns
    -------
    Cloud or None
        None where there is no point to draw.
    """
    names = np.array([label or "no label" for label in labels] if len(labels) else ["no label"] * len(points), dtype=object)
    finite = np.isfinite(points).all(axis=1)
    every = max(1, -(-int(finite.sum()) // MOST_POINTS))
    drawn = np.flatnonzero(finite)[::every]
    points, names = points[drawn], names[drawn]
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
    return Cloud(WIDTH, height, groups, len(frequent) - len(named), len(points), _hits(drawn, placed, names, pictures or {}))


def _hits(
    drawn: NDArray[np.intp], placed: NDArray[np.float64], names: NDArray[np.object_], pictures: Mapping[int, Picture]
) -> list[Hit]:
    """Class by class, from left to right, so that a step from one to the next makes sense."""
    found = [
        Hit(round(float(x), 1), round(float(y), 1), str(name), pictures[int(number)])
        for number, (x, y), name in zip(drawn, placed, names, strict=True)
        if int(number) in pictures
    ]
    return sorted(found, key=lambda hit: (hit.label.casefold(), hit.x, hit.y))


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
