"""The image that is meant: a path or URL, an id of a dataset, or `row:123`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import numpy as np

from trunkline.errors import DataError, SourceError, SpecError, StoreError, UnreadableImage
from trunkline.locations import Location
from trunkline.reader import Features
from trunkline.reading.selection import Selection
from trunkline.reading.snapshot import OK, STATUSES
from trunkline.sources import Source
from trunkline.sources.objects import fetch

ROW = re.compile(r"row:(\d{1,15})")


@dataclass(frozen=True)
class Asked:
    """An image to look at.

    Parameters
    ----------
    name : its id in the dataset, else its path or URL as it was given.
    uri : for people.
    row, label, split : where the dataset knows it; None elsewhere.
    """

    name: str
    uri: str
    row: int | None = None
    label: str | None = None
    split: str | None = None
    version: str = ""
    place: str = ""

    @property
    def title(self) -> str:
        """What a picture or page is headed with: the id, or the file's name without its folders."""
        return self.name if self.row is not None else self.uri.rsplit("/", 1)[-1]

    def read(self, source: Source | None) -> bytes:
        """The image's bytes; of a row those that were extracted. Raises UnreadableImage and StorageUnreachable."""
        if self.row is None or source is None:
            return fetch(Location.of(self.uri))[0]
        return source.read(self.name, self.version, self.place)


def asked(image: str, features: Features | None) -> Asked:
    """Find what is meant.

    Parameters
    ----------
    image : a path or URL, `row:N`, or an id. A path that lies in the dataset's source is the row of that image.
    features : of the dataset; None where there is no store.

    Raises
    ------
    SpecError : a row without a store, or a URL with a password.
    SourceError : no such file.
    DataError : no such row or id, or one without features.
    """
    if found := ROW.fullmatch(image):
        if features is None:
            raise SpecError(f"{image} is a row of a dataset. Say of which: --store STORE.")
        return _of_row(features, _checked(features, int(found[1])))
    try:
        place = Location.of(image)
    except StoreError as error:
        raise SpecError(f"IMAGE {error}") from error
    if not place.is_local or os.path.exists(place.uri):  # noqa: PTH110 (a Path's fails on names that are too long)
        row = None if features is None else _row_at(features, place)
        return Asked(image, place.uri) if features is None or row is None else _of_row(features, row)
    if features is None:
        raise SourceError(f"There is no image at {place}. Check the path; an id or row:N of a dataset needs --store.")
    try:
        (row,) = Selection(ids=image).rows_of(features.snapshot)
    except DataError as error:
        raise DataError(f"There is no file {place}, and in the dataset {features.dataset.name}: {error}") from error
    return _of_row(features, int(row))


def unreadable(image: Asked, error: UnreadableImage) -> SourceError:
    """The error of an image that is there and is none, in words."""
    if error.reason == "missing":
        return SourceError(f"There is no image at {image.uri}. Check the path.")
    detail = f" ({error.detail})" if error.detail else ""
    return SourceError(f"{image.uri} cannot be read as an image: {error.reason}{detail}.")


def _checked(features: Features, row: int) -> int:
    statuses = features.snapshot.statuses()
    if row >= len(statuses):
        raise DataError(f"There is no row {row:,} in {features.uri}: its rows are 0 to {len(statuses) - 1:,}.")
    if statuses[row] != OK:
        raise DataError(f"Row {row:,} of {features.uri} has no features: it is {STATUSES[statuses[row]]}.")
    return row


def _row_at(features: Features, place: Location) -> int | None:
    """The row with features whose image lies there; None where the dataset does not know it."""
    source = features.dataset.source
    if source.said()["kind"] not in ("folder", "glob"):
        ids = [place.uri]  # a table's ids are URIs unless it says others; files of many images hold no path
    else:
        base = source.uri_of("x").removesuffix("x")
        ids = [place.uri.removeprefix(base)] if place.uri.startswith(base) else []
    for image_id in ids:
        try:
            return int(Selection(ids=image_id).rows_of(features.snapshot)[0])
        except DataError:
            continue
    return None


def _of_row(features: Features, row: int) -> Asked:
    listed = features.snapshot.listed(np.array([row])).to_pylist()[0]
    said = {
        what: names[codes[row]] if codes[row] >= 0 else None
        for what, (codes, names) in ((what, features.snapshot.codes(what)) for what in ("label", "split"))
    }
    uri = features.dataset.source.uri_of(listed["id"], listed["place"])
    return Asked(listed["id"], uri, row, said["label"], said["split"], listed["version"], listed["place"])
