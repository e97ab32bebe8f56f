"""The nearest images as one HTML page of thumbnails, the image that was asked about first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trunkline.report.templates import environment, policy
from trunkline.wording import counted


@dataclass(frozen=True)
class Neighbour:
    """One of the nearest: `jpeg` None and a reason where its image cannot be read again."""

    row: int
    id: str
    label: str | None
    distance: float
    jpeg: bytes | None
    reason: str = ""


@dataclass(frozen=True)
class Alike:
    """Everything on the page: the image that was asked about, where was searched, and what was found, the nearest first.

    `rows` were compared; `columns` of the layer's `width` features counted.
    """

    name: str
    row: int | None
    label: str | None
    jpeg: bytes | None
    dataset: str
    feature_set: str
    layer: str
    columns: int
    width: int
    metric: str
    rows: int
    neighbours: Sequence[Neighbour]


def render(found: Alike) -> str:
    """Lay it out as one self-contained HTML document without scripts; the same data gives the same text."""
    page = environment().get_template("neighbours.html.j2").render(found=found, verdict=verdict(found), policy=policy(""))
    return page.lstrip()


def verdict(found: Alike) -> str:
    """Say in one sentence what was found."""
    count = len(found.neighbours)
    columns = f"{found.columns:,} of {found.width:,} features" if found.columns < found.width else f"{found.width:,} features"
    said = f"The {count:,} nearest of {counted(found.rows, 'image')}, by {found.metric} distance of {columns} ({found.layer})"
    if found.label is not None:
        alike = sum(each.label == found.label for each in found.neighbours)
        said += f"; {alike:,} of them {'has' if alike == 1 else 'have'} its label"
    missing = sum(each.jpeg is None for each in found.neighbours)
    return said + (f". {missing:,} cannot be shown." if missing else ".")
