"""Orphans: objects of trunkline's own layout that no committed record refers to. Whatever it does not know is left alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trunkline import moments
from trunkline.blocks import Status
from trunkline.errors import TrunklineError
from trunkline.locations import Location
from trunkline.maintenance.listing import Found, objects_below
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset, FeatureStore
from trunkline.versions import Values

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.tmp")  # what locations.py writes before it moves or links
PARTIAL = re.compile(r".+\.[0-9a-f]{32}\.partial")  # what Zarr writes before it moves
RECORD = re.compile(r"commits/\d{12}\.parquet")
MOMENTS = re.compile(r"moments/(\d{12})-([0-9a-f]{16})\.npz")
LEASE = re.compile(r"(leases/(?:heads/)?)lease-(\d{6,})\.json")  # of the extraction, and of the heads
OWN = re.compile(
    r"recipe\.json|layout\.json|effects\.json|report\.json|curves\.json|features\.h5|features\.zarr/(.+/)?zarr\.json|sealed/[^/.][^/]*\.parquet"
)
DATASET = re.compile(r"[^/]+/(source\.json|manifest/batch-\d{6,}\.parquet|(labels|splits)/\d{6,}\.parquet)")
RUN = re.compile(r"[^/]+/(report\.html|metrics\.json)")
HEAD = re.compile(r"head\.json|scores/[^/]+\.json|[a-z]+\.(npz|skops|safetensors|keras|json)")
PREDICTIONS = re.compile(r"([a-z]+-[0-9a-f]+)(/rows-[0-9a-f]{16})?\.parquet")  # on the test split, and of `trunkline predict`
FINETUNED = re.compile(
    r"[^/]+/(backbone\.(keras|yaml)|(lineage|history)\.json|report\.html|logs/.+|leases/lease-\d{6,}\.json|checkpoints/.+)"
)
MASK = re.compile(r"[^/]+/[^/]+/[^/]+/mask-\d{6,}\.npz")


@dataclass(frozen=True)
class Orphan:
    """One object or folder that nothing refers to.

    Parameters
    ----------
    place, kind, bytes, why : what and why, for people.
    young : something may be making it right now: it is left alone for a while.
    unless : objects whose appearance would make it referred to; looked at again right before it is deleted.
    """

    place: Location
    kind: str
    bytes: int
    why: str
    young: bool
    unless: tuple[Location, ...] = ()


@dataclass(frozen=True)
class Swept:
    """What a part of a store holds besides what is in use: `orphans`, and `unknown` paths that are not trunkline's."""

    orphans: tuple[Orphan, ...]
    unknown: tuple[str, ...]

    @classmethod
    def of(cls, found: Iterable[Orphan | str]) -> Swept:
        every = list(found)
        return cls(
            tuple(each for each in every if isinstance(each, Orphan)), tuple(each for each in every if isinstance(each, str))
        )


def in_store(store: FeatureStore, grace: float) -> Swept:
    """Everything outside feature sets; objects younger than `grace` seconds may be in the making, and are passed over."""
    return Swept.of(_outside(store, grace))


def in_feature_set(store: FeatureStore, features: FeatureSet, grace: float) -> Swept:
    """Everything of one feature set, heads and predictions included."""
    beside = (*_heads(store, features, grace), *_predictions(store, features, grace))
    return Swept.of([*_inside(store, features, grace), *beside])


def _outside(store: FeatureStore, grace: float) -> Iterator[Orphan | str]:
    known = {"datasets": DATASET, "runs": RUN, "masks": MASK, "finetuned": FINETUNED}
    datasets = {dataset.name for dataset in store.datasets()}
    for folder in (name for name in store.root.names() if name not in {*known, "store.json"}):
        if folder == "backbones":
            yield from _backbones(store.root / folder, grace)
        elif folder == "features":
            yield from _unfinished_feature_sets(store, datasets, grace)
        elif folder in ("heads", "predictions"):
            yield from _strangers(store, folder, datasets)
        else:
            yield (store.root / folder).uri
    for folder, pattern in known.items():
        yield from _plain(store.root / folder, pattern, grace)
    for found in _directly_in(store.root):
        if TEMPORARY.fullmatch(found.name):
            yield _temporary(store.root, found, grace)


def _plain(folder: Location, pattern: re.Pattern[str], grace: float) -> Iterator[Orphan | str]:
    """Files that are kept, temporary ones, and strangers."""
    for found in objects_below(folder):
        if _is_temporary(found.name):
            yield _temporary(folder, found, grace)
        elif not pattern.fullmatch(found.name):
            yield (folder / found.name).uri


def _backbones(folder: Location, grace: float) -> Iterator[Orphan | str]:
    for name in folder.names():
        inside = list(objects_below(folder / name))
        marker = folder / f"{name}/backbone.json"
        used = _files_of(marker) if any(found.name == "backbone.json" for found in inside) else ""
        if used is None or not re.fullmatch(r"[0-9a-f]+", name):
            yield (folder / name).uri
            continue
        rest = [found for found in inside if found.name != "backbone.json" and found.name.split("/")[0] != used]
        for found in rest:
            if not re.fullmatch(r"[0-9a-f]+/[^/]+", found.name) and not _is_temporary(found.name):
                yield (folder / name / found.name).uri
            else:
                unless = () if used else (marker,)
                why = "no backbone.json names it: its compilation was interrupted, or another run's was kept"
                yield Orphan(folder / name / found.name, "compiled backbone", found.size, why, _any_young(rest, grace), unless)


def _files_of(marker: Location) -> str | None:
    """The folder that a backbone.json names; None where it cannot be read, so that nothing is touched."""
    try:
        return str(json.loads(marker.read())["files"])
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return None


def _unfinished_feature_sets(store: FeatureStore, datasets: set[str], grace: float) -> Iterator[Orphan | str]:
    """Those without a layout; one that holds commit records or arrays all the same is damaged, and left alone."""
    for dataset in (store.root / "features").names():
        folder = store.root / f"features/{dataset}"
        for name in folder.names():
            marker = folder / f"{name}/layout.json"
            if marker.exists() and dataset in datasets:
                continue
            inside = list(objects_below(folder / name))
            harmless = all(found.name == "recipe.json" or _is_temporary(found.name) for found in inside)
            if dataset not in datasets or not harmless:
                yield (folder / name).uri
            else:
                why = "it has no layout.json: its creation was interrupted, and nothing was extracted"
                for found in inside:
                    yield Orphan(
                        folder / name / found.name, "feature set", found.size, why, _any_young(inside, grace), (marker,)
                    )


def _strangers(store: FeatureStore, folder: str, datasets: set[str]) -> Iterator[str]:
    """Heads and predictions of no feature set that is there."""
    for dataset in (store.root / folder).names():
        for name in (store.root / folder / dataset).names():
            if dataset not in datasets or not (store.root / f"features/{dataset}/{name}/layout.json").exists():
                yield (store.root / folder / dataset / name).uri


def _inside(store: FeatureStore, features: FeatureSet, grace: float) -> Iterator[Orphan | str]:
    listed = list(objects_below(features.location))
    committed = _Committed(features, (found.name for found in listed))
    newest: dict[str, int] = {}
    for found in listed:
        if said := LEASE.fullmatch(found.name):
            newest[said[1]] = max(int(said[2]), newest.get(said[1], 0))
    siblings: dict[str, list[str]] = {}
    for found in listed:
        if said := MOMENTS.fullmatch(found.name):
            siblings.setdefault(said[1], []).append(said[2])
    current = _Training(store, features)
    for found in listed:
        orphan = _judged(features, found, committed, newest, siblings, current, grace)
        if orphan is not None:
            yield orphan


def _judged(
    features: FeatureSet,
    found: Found,
    committed: _Committed,
    newest: dict[str, int],
    siblings: dict[str, list[str]],
    current: _Training,
    grace: float,
) -> Orphan | str | None:
    """Why nothing refers to an object of a feature set; its path where it is not trunkline's; None where it is in use."""
    place, young = features.location / found.name, not found.is_older(grace)
    if _is_temporary(found.name):
        return _temporary(features.location, found, grace)
    if RECORD.fullmatch(found.name) or OWN.fullmatch(found.name):
        return None
    if said := LEASE.fullmatch(found.name):
        last = newest[said[1]]
        return Orphan(place, "lease", found.size, f"lease {last} came after it", False) if int(said[2]) < last else None
    if said := MOMENTS.fullmatch(found.name):
        if not committed.holds(int(said[1]), int(said[1]) + 1):
            return Orphan(
                place, "moments", found.size, "its shard has no commit record", young, committed.records(int(said[1]), 1)
            )
        if len(siblings[said[1]]) > 1 and current.knows(said[1]) and said[2] != current.key(said[1]):
            return Orphan(
                place, "moments", found.size, "of other training rows than today's; it would be computed again", young
            )
        return None
    rows = features.arrays.rows_of(found.name)
    if rows is None:
        return place.uri
    if committed.holds(*rows):
        return None
    unless = committed.records(rows[0], rows[1] - rows[0])
    return Orphan(place, "features", found.size, "its shard has no commit record", young, unless)


class _Committed:
    """Which rows have a commit record, by the records themselves and by what the feature set says is done."""

    def __init__(self, features: FeatureSet, names: Iterable[str]) -> None:
        records = {name.removeprefix("commits/").removesuffix(".parquet") for name in names if RECORD.fullmatch(name)}
        self._features = features
        self._starts = np.array(sorted(int(name) for name in records | features.commits.done()), np.int64)

    def holds(self, start: int, stop: int) -> bool:
        """Whether a committed shard starts in rows [start, stop)."""
        first, last = np.searchsorted(self._starts, (start, stop))
        return bool(last > first)

    def records(self, start: int, rows: int) -> tuple[Location, ...]:
        """The records that would commit something of these rows."""
        step = self._features.layout.rows_per_shard
        folder = self._features.commits.folder
        return tuple(folder / f"{row:012d}.parquet" for row in range(start, start + rows, step))


class _Training:
    """The digest of a committed shard's training rows as labels, splits and removals are now."""

    def __init__(self, store: FeatureStore, features: FeatureSet) -> None:
        self._features = features
        self._dataset: Dataset = store.dataset(features.location.uri.rsplit("/", 2)[-2])
        self._keys: dict[str, str] = {}

    def knows(self, shard: str) -> bool:
        try:
            return bool(self.key(shard))
        except (TrunklineError, FileNotFoundError):
            return False  # what cannot be told is kept

    def key(self, shard: str) -> str:
        if shard not in self._keys:
            commit = self._features.commits.read(shard)
            rows = commit.table["row"].to_numpy()
            ok = np.asarray(commit.table["status"].to_pylist(), object) == str(Status.OK)
            training = self._splits.codes[rows] == self._splits.code("train")
            self._keys[shard] = moments.rows_key(rows[ok & training & self._live[rows]])
        return self._keys[shard]

    @cached_property
    def _live(self) -> NDArray[np.bool_]:
        return self._dataset.manifest.live()

    @cached_property
    def _splits(self) -> Values:
        return self._dataset.splits.values(len(self._live))


def _heads(store: FeatureStore, features: FeatureSet, grace: float) -> Iterator[Orphan | str]:
    folder = store.beside("heads", features)
    for name in folder.names():
        inside = list(objects_below(folder / name))
        marker = folder / name / "head.json"
        complete = any(found.name == "head.json" for found in inside)
        for found in inside:
            if _is_temporary(found.name):
                yield _temporary(folder / name, found, grace)
            elif not HEAD.fullmatch(found.name):
                yield (folder / name / found.name).uri
            elif not complete:
                why = "it has no head.json: it was never finished"
                yield Orphan(folder / name / found.name, "head", found.size, why, _any_young(inside, grace), (marker,))


def _predictions(store: FeatureStore, features: FeatureSet, grace: float) -> Iterator[Orphan | str]:
    folder, heads = store.beside("predictions", features), store.beside("heads", features)
    for found in objects_below(folder):
        if _is_temporary(found.name):
            yield _temporary(folder, found, grace)
        elif not (said := PREDICTIONS.fullmatch(found.name)):
            yield (folder / found.name).uri
        else:
            marker = heads / said[1] / "head.json"
            if not marker.exists():
                why, young = "there is no head that made them", not found.is_older(grace)
                yield Orphan(folder / found.name, "predictions", found.size, why, young, (marker,))


def _directly_in(folder: Location) -> Iterator[Found]:
    """Hidden files of the store's own folder; buckets have none."""
    if folder.is_local:
        for path in sorted(folder.path.glob(".*")):
            if path.is_file():
                yield Found(path.name, path.stat().st_size, path.stat().st_mtime)


def _is_temporary(name: str) -> bool:
    last = name.rsplit("/", 1)[-1]
    return bool(TEMPORARY.fullmatch(last) or (name.startswith("features.zarr/") and PARTIAL.fullmatch(last)))


def _temporary(folder: Location, found: Found, grace: float) -> Orphan:
    return Orphan(
        folder / found.name, "temporary file", found.size, "a process that was ended left it", not found.is_older(grace)
    )


def _any_young(found: Iterable[Found], grace: float) -> bool:
    return not all(each.is_older(grace) for each in found)
