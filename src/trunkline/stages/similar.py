"""Similar: the images of a store whose features are nearest to those of one image, as a page of thumbnails."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import DataError, SpecError, UnreadableImage
from trunkline.exporting.placing import placed, refuse_wrong_place
from trunkline.locations import Location
from trunkline.looking.asked import Asked, asked, unreadable
from trunkline.looking.one_image import prepared, vectors_by
from trunkline.looking.thumbnails import Thumbnail, small, thumbnail_of
from trunkline.progress import Progress, Step, silent
from trunkline.reader import Features, open_features
from trunkline.reading.nearest import nearest
from trunkline.reading.selection import Names
from trunkline.reading.view import View
from trunkline.report.neighbours import Alike, Neighbour, render
from trunkline.stages.predict import backbone_of

SIDE, QUALITY = 160, 75
READERS = 4
MOST_PICTURES = 500  # on a page, some 5 KB each


@dataclass(frozen=True)
class Found:
    """One of the nearest: its row, id, label and distance; `unreadable` is why it has no thumbnail, '' where it has one."""

    row: int
    id: str
    label: str | None
    distance: float
    unreadable: str = ""


@dataclass(frozen=True)
class SimilarReceipt:
    """What was found, the nearest first, among `rows` rows; `out` is the page."""

    out: str
    image: str
    row: int | None
    label: str | None
    feature_set: str
    layer: str
    metric: str
    rows: int
    nearest: Sequence[Found]
    seconds: float


def similar(
    image: str,
    store: str,
    out: str = "similar.html",
    *,
    k: int = 20,
    dataset: str | None = None,
    split: Names | None = None,
    label: Names | None = None,
    layer: str | None = None,
    mask: bool = False,
    metric: str = "cosine",
    overwrite: bool = False,
    progress: Progress = silent,
) -> SimilarReceipt:
    """Find the nearest images by features, exactly, and lay them out on a page.

    Parameters
    ----------
    image : a path or URL, an id, or `row:N`. What is a row already is compared by its stored features and is not among its own
        neighbours; anything else goes through the recipe's preparation and backbone first.
    store, dataset : a feature set, or a store that holds one.
    out : a .html file.
    k : how many.
    split, label : only among these.
    layer, mask : whose features, the first layer's by default; only the columns that the pinned mask keeps.
    metric : cosine or euclidean.

    Raises
    ------
    SpecError : a wrong `out`.
    SourceError, DataError, StoreError : no such image, row, label or feature set; k more than there are rows; no mask.
    """
    started = time.monotonic()
    if not out.lower().endswith((".html", ".htm")):
        raise SpecError(
            f"--out {out} is no .html file, and the thumbnails are an HTML page. Name it similar.html, for example."
        )
    features = open_features(store, dataset=dataset)
    place = Location.of(out)
    refuse_wrong_place([place], Location(features.uri.rsplit("/", 3)[0]), overwrite)
    if not len(features.rows()):
        raise DataError(f"{features.uri} holds no features yet, so nothing is near. Run `trunkline extract` first.")
    view = features.view(split, label=label, layer=layer, mask=mask)
    meant = asked(image, features)
    others = view.rows[view.rows != meant.row] if meant.row is not None else view.rows
    among = View(view.snapshot, view.reader, others, view.columns)
    vector = _vector(features, view.reader.layer, meant)
    progress(Step("similar", 0, len(others)))
    rows, distances = nearest(among, vector, k, metric, lambda seen: progress(Step("similar", seen, len(others))))
    found, pictures = _listed(features, rows[0], distances[0])
    page = render(_page(features, meant, view, metric, len(others), found, pictures))
    with placed([place]) as (path,):
        path.write_text(page, encoding="utf-8")
    return SimilarReceipt(
        out=place.uri,
        image=meant.name,
        row=meant.row,
        label=meant.label,
        feature_set=features.uri,
        layer=view.reader.layer,
        metric=metric,
        rows=len(others),
        nearest=found,
        seconds=time.monotonic() - started,
    )


def _vector(features: Features, layer: str, image: Asked) -> NDArray[np.float32]:
    """(1, dim): stored, or made as extraction makes it."""
    if image.row is not None:
        return features.read(np.array([image.row]), layer)
    pixels = prepared(image, None, features.recipe)
    return vectors_by(*backbone_of(features), features.recipe, layer)(pixels[None])


def _listed(features: Features, rows: NDArray[np.int64], distances: NDArray[np.float64]) -> tuple[list[Found], list[Thumbnail]]:
    """In the order of `rows`, which need not ascend."""
    order = np.argsort(rows)
    ascending = features.snapshot.listed(rows[order]).to_pylist()
    listed = [ascending[place] for place in np.argsort(order)]
    with ThreadPoolExecutor(READERS) as readers:
        pictures = list(readers.map(lambda each: thumbnail_of(features, each, SIDE, QUALITY), listed[:MOST_PICTURES]))
    pictures += [Thumbnail(None, f"only the first {MOST_PICTURES} have pictures")] * (len(rows) - len(pictures))
    found = [
        Found(int(row), each["id"], label, float(distance), picture.reason)
        for row, each, label, distance, picture in zip(rows, listed, features.labels(rows), distances, pictures, strict=True)
    ]
    return found, pictures


def _page(
    features: Features, image: Asked, view: View, metric: str, rows: int, found: Sequence[Found], pictures: Sequence[Thumbnail]
) -> Alike:
    return Alike(
        name=image.title,
        row=image.row,
        label=image.label,
        jpeg=_query(features, image),
        dataset=features.dataset.name,
        feature_set=features.uri,
        layer=view.reader.layer,
        columns=len(view.numbers),
        width=view.reader.width,
        metric=metric,
        rows=rows,
        neighbours=[
            Neighbour(each.row, each.id, each.label, each.distance, picture.jpeg, picture.reason)
            for each, picture in zip(found, pictures, strict=True)
        ],
    )


def _query(features: Features, image: Asked) -> bytes | None:
    """Its picture; a row whose image is gone has features all the same."""
    try:
        return small(image.read(features.dataset.source), SIDE, QUALITY)
    except UnreadableImage as error:
        if image.row is None:
            raise unreadable(image, error) from error
        return None
