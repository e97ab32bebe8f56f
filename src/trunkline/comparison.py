"""A listing against a manifest, as it streams by: what is new, changed, renamed and gone, in memory that ids do not fill.

Ids are compared by their 64-bit hashes, so ten million images take a third of a gigabyte. Two ids of one hash would be
taken for a repetition and stop the scan; the hash is seeded anew in each process, so starting again helps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from trunkline.errors import SourceError
from trunkline.manifest import NONE, Manifest, Rows
from trunkline.sources import Listed

IMAGES_AT_ONCE = 16_384
NO_VERSION = frozenset({"", "dangling", "missing", "unreadable"})  # of images that are not there: equal ones tell nothing


class Drafting(Protocol):
    """Takes what is to be added, as `drafts.Draft` does."""

    def add(self, images: Sequence[Listed], /) -> Rows:
        """The row of each."""


@dataclass(frozen=True)
class Told:
    """What a listing itself said of rows: row numbers, and each one's value or None."""

    rows: list[Rows] = field(default_factory=list)
    labels: list[Sequence[str | None]] = field(default_factory=list)
    splits: list[Sequence[str | None]] = field(default_factory=list)


@dataclass(frozen=True)
class Difference:
    """What a listing changes. A renamed image has another id and the version of one that is gone.

    Parameters
    ----------
    added, changed, renamed, unchanged, gone : images, each counted once. One whose bytes lie in another place has changed.
    lost : of the changed, those that are listed still and not there any more, as a table lists them whose disk is away.
    added_bytes : of the images that are new, changed or renamed.
    removed, successors : rows that end with this listing, and the rows that take their places, or −1.
    """

    added: int
    changed: int
    renamed: int
    unchanged: int
    gone: int
    lost: int
    added_bytes: int
    removed: Rows
    successors: Rows

    @property
    def is_empty(self) -> bool:
        return not (self.added or self.changed or self.renamed or len(self.removed))

    @property
    def known(self) -> int:
        """Live images before."""
        return self.changed + self.renamed + self.unchanged + self.gone

    @property
    def vanished(self) -> int:
        """Images that were there before and are not now, listed or not."""
        return self.gone + self.lost


def compare(
    manifest: Manifest,
    listing: Iterable[Listed],
    draft: Drafting,
    told: Told | None = None,
    seen: Callable[[Sequence[Listed]], None] | None = None,
    again: Callable[[], Iterable[Listed]] | None = None,
) -> Difference:
    """Stream a listing against the live images; what is to be added goes into the draft, and `seen` is shown all, in pieces.

    Parameters
    ----------
    again : gives the listing once more, where an id that came twice has to be named.

    Raises
    ------
    SourceError : the listing names an id twice.
    """
    known = _Known.of(manifest)
    fresh_hashes, fresh_versions, fresh_rows = [], [], []
    replaced, replacing = [known.superseded], [known.superseding]
    unchanged = lost = added_bytes = 0
    no_version = _hashes(sorted(NO_VERSION))
    for images in _some(listing):
        if seen is not None:
            seen(images)
        ids, versions = _hashes([image.id for image in images]), _hashes([image.version for image in images])
        found = known.find(ids)
        _refuse_repetition(known, found, images)
        there = found >= 0
        same = there & (known.versions[found] == versions) & known.lies_at(found, images)
        new = [images[place] for place in np.flatnonzero(~same).tolist()]
        rows = np.full(len(images), NONE)
        rows[same] = known.rows[found[same]]
        rows[~same] = draft.add(new)
        changed = there & ~same
        replaced.append(known.rows[found[changed]])
        replacing.append(rows[changed])
        fresh_hashes.append(ids[~there])
        fresh_versions.append(versions[~there])
        fresh_rows.append(rows[~there])
        unchanged += int(same.sum())
        lost += int((changed & np.isin(versions, no_version) & ~np.isin(known.versions[found], no_version)).sum())
        added_bytes += sum(image.size for image in new)
        if told is not None:
            told.rows.append(rows)
            told.labels.append([image.label for image in images])
            told.splits.append([image.split for image in images])
        del new
    _refuse_twice(np.concatenate([np.empty(0, np.int64), *fresh_hashes]), again)
    gone, renamed_from, renamed_to = _renamed(known, fresh_versions, fresh_rows)
    changed_rows = np.concatenate(replaced)
    removed = np.concatenate([changed_rows, gone])
    successors = np.concatenate([*replacing, np.full(len(gone), NONE)])
    if len(renamed_from):
        places = np.searchsorted(gone, renamed_from) + len(changed_rows)
        successors[places] = renamed_to
    fresh = sum(map(len, fresh_rows))
    return Difference(
        added=fresh - len(renamed_from),
        changed=len(changed_rows) - len(known.superseded),
        renamed=len(renamed_from),
        unchanged=unchanged,
        gone=len(gone) - len(renamed_from),
        lost=lost,
        added_bytes=added_bytes,
        removed=removed,
        successors=successors,
    )


class _Known:
    """The live images of a manifest, in order of their ids' hashes: hash, version's hash, row; and which were seen.

    All but the hashes have an entry more at their end, for the place −1 of what is not known. A scan of several batches that died
    leaves images with two rows: the later one counts, the others are `superseded`, each by the row in `superseding`.
    """

    def __init__(self, columns: dict[str, Rows]) -> None:
        """Takes the columns apart, so that at ten million images none is held twice for long."""
        order = np.argsort(columns["hashes"], kind="stable")  # of one image the last row is the last
        hashes, rows = columns.pop("hashes")[order], columns.pop("rows")
        followed = np.append(hashes[1:] == hashes[:-1], False)[: len(order)]
        old, followers = np.flatnonzero(followed), np.flatnonzero(~followed) if followed.any() else slice(None)
        self.superseded = self.superseding = np.empty(0, np.int64)
        if isinstance(followers, np.ndarray):
            self.superseded = rows[order[old]]
            self.superseding = rows[order[followers[np.searchsorted(followers, old)]]]
        order = order[followers]
        self._hashes = hashes[followers]
        self.rows = np.append(rows[order], NONE)
        del rows
        self.versions = np.append(columns.pop("versions")[order], 0)
        self._places = np.append(columns.pop("places")[order], 0) if "places" in columns else None
        self.seen = np.zeros(len(self.rows), bool)

    @classmethod
    def of(cls, manifest: Manifest) -> _Known:
        count = manifest.image_count - len(manifest.removed)
        columns = {name: np.empty(count, np.int64) for name in ("hashes", "versions", "rows")}
        start = 0
        for table in manifest.chunks(("row", "id", "version", "place", "removed")):
            live = table.filter(pc.invert(table["removed"]))
            here = slice(start, start + len(live))
            columns["rows"][here] = live["row"].to_numpy()
            columns["hashes"][here] = _hashes(live["id"].to_pylist())
            columns["versions"][here] = _hashes(live["version"].to_pylist())
            if pc.any(pc.not_equal(live["place"], "")).as_py():
                columns.setdefault("places", np.zeros(count, np.int64))[here] = _hashes(live["place"].to_pylist())
            start = here.stop
        return cls(columns)

    def lies_at(self, found: Rows, images: Sequence[Listed]) -> NDArray[np.bool_]:
        """(n,) bool: whether each is known to lie where it is listed now."""
        now = _hashes([image.place for image in images])
        before = 0 if self._places is None else self._places[found]
        return np.equal(now, before)

    def find(self, hashes: Rows) -> Rows:
        """Where each hash stands; −1 where it is not known."""
        if not len(self._hashes):
            return np.full(len(hashes), -1)
        order = np.argsort(hashes)  # neighbours in the search are neighbours in memory
        positions = np.empty(len(hashes), np.int64)
        positions[order] = np.searchsorted(self._hashes, hashes[order])
        positions[positions == len(self._hashes)] = 0
        return np.where(self._hashes[positions] == hashes, positions, -1)


def _hashes(texts: Sequence[str]) -> Rows:
    return np.fromiter(map(hash, texts), np.int64, len(texts))


def _some(listing: Iterable[Listed]) -> Iterator[list[Listed]]:
    remaining = iter(listing)
    while images := list(islice(remaining, IMAGES_AT_ONCE)):
        yield images


def _refuse_repetition(known: _Known, found: Rows, images: Sequence[Listed]) -> None:
    """Mark as seen; an id that was seen before is named."""
    there = np.flatnonzero(found >= 0)
    places = found[there]
    again = known.seen[places]
    known.seen[places] = True
    ordered = np.sort(places)
    if again.any() or (ordered[1:] == ordered[:-1]).any():
        _, first = np.unique(places, return_index=True)
        again[np.setdiff1d(np.arange(len(places)), first, assume_unique=True)] = True
        raise _repeated(images[int(there[again.argmax()])].id)


def _refuse_twice(hashes: Rows, again: Callable[[], Iterable[Listed]] | None) -> None:
    hashes.sort()
    twice = hashes[1:][hashes[1:] == hashes[:-1]]
    if len(twice):
        which = int(twice[0])
        raise _repeated(next((image.id for image in (again() if again else ()) if hash(image.id) == which), ""))


def _repeated(image_id: str) -> SourceError:
    which = f"the id {image_id!r}" if image_id else "an id of a new image"
    return SourceError(
        f"The source lists {which} twice, so nobody could tell which image its row is. Nothing was recorded. Make ids unique, in a "
        "table by naming another column for them."
    )


def _renamed(known: _Known, fresh_versions: list[Rows], fresh_rows: list[Rows]) -> tuple[Rows, Rows, Rows]:
    """Rows that are gone, ascending; and those of them whose version, alone among all that are gone, is that of one new image."""
    missing = np.flatnonzero(~known.seen[:-1])
    gone, versions = known.rows[missing], known.versions[missing]
    order = np.argsort(gone)
    gone, versions = gone[order], versions[order]
    new, rows = np.concatenate([np.empty(0, np.int64), *fresh_versions]), np.concatenate([np.empty(0, np.int64), *fresh_rows])
    if not len(gone) or not len(new):
        return gone, np.empty(0, np.int64), np.empty(0, np.int64)
    once = [np.unique(values, return_index=True, return_counts=True) for values in (versions, new)]
    (old_values, old_first), (new_values, new_first) = ((u[count == 1], first[count == 1]) for u, first, count in once)
    common, old_places, new_places = np.intersect1d(old_values, new_values, assume_unique=True, return_indices=True)
    tells = ~np.isin(common, _hashes(sorted(NO_VERSION)))
    return gone, gone[old_first[old_places[tells]]], rows[new_first[new_places[tells]]]
