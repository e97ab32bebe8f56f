"""Arrivals: somebody says that images have come to a place; which dataset is meant, and the spec that brings it up to date."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from trunkline.errors import SourceError
from trunkline.locations import Location
from trunkline.sources.choice import is_glob, parted
from trunkline.specs import Form, Name, RunSpec
from trunkline.store.feature_store import FeatureStore


class Arrival(Form):
    """Where images have arrived; what an event `trunkline.batch.arrived` carries. Other keys of its payload are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    source: str | None = Field(None, description="where images have arrived: the source of a dataset, or a place below it")
    store: str | None = Field(None, description="the feature store, where it is not the spec's")
    dataset: Name | None = Field(None, description="the dataset's name, where the source alone does not tell")


def dataset_of(uri: str, roots: Mapping[str, str]) -> str | None:
    """The dataset whose source is `uri` or holds it; None where it belongs to none.

    Of several the deepest source is meant, and of equal ones the first in `roots`.

    Parameters
    ----------
    uri : a place, as `Location.of` writes it.
    roots : dataset → what its source is bound to: a folder, a glob or a file.
    """
    found = [(len(_folder(root)), name) for name, root in roots.items() if _holds(root, uri)]
    deepest = max((length for length, _ in found), default=0)
    return next((name for length, name in found if length == deepest), None)


def spec_of(spec: RunSpec, arrival: Arrival) -> RunSpec:
    """The spec that brings up to date what an arrival is about.

    A dataset that the store knows is scanned as a whole, from the source that it is bound to: by `spec` where it is the spec's own
    dataset, else as it was run last. An unknown place becomes a new dataset by `spec`. Cluster and engine are always the spec's.

    Raises
    ------
    SourceError : the arrival names no source.
    """
    if not arrival.source:
        raise SourceError(
            "The event names no source, so nobody knows what has arrived. Its payload is an object with the URI of a folder, "
            'such as {"source": "s3://bucket/folder"}.'
        )
    spec = spec.model_copy(update={"store": arrival.store or spec.store})
    place = Location.of(arrival.source).uri
    store = FeatureStore.existing(Location.of(spec.store))
    bound = _bound(store, spec.dataset_name) if store else {}
    name = arrival.dataset or dataset_of(place, {each: said["root"] for each, said in bound.items()})
    if store is None or name not in bound or not _holds(bound[name]["root"], place):
        return _validated(spec, {"source": place, "dataset": name, "source_kind": "auto", "columns": {}})
    said = bound[name]
    own = spec if name == spec.dataset_name else last_spec(store, name) or spec
    kept = {"store": spec.store, "cluster": spec.cluster.model_dump(), "engine": spec.engine.model_dump()}
    columns = own.columns.model_dump() | said.get("columns", {})
    where = {"source": said["root"], "dataset": name, "source_kind": said.get("kind", "folder"), "columns": columns}
    return _validated(own, kept | where)


def last_spec(store: FeatureStore, dataset: str) -> RunSpec | None:
    """What the last finished run of a dataset was asked to do; None where there was none that can be read."""
    for run in reversed(store.runs.names()):
        try:
            said = json.loads((store.runs / f"{run}/metrics.json").read())
            if said["dataset"] == dataset:
                return RunSpec.model_validate(said["spec"])
        except (FileNotFoundError, ValueError, KeyError, TypeError, ValidationError):
            continue  # a run that did not finish, or one of another version
    return None


def _bound(store: FeatureStore, first: str) -> dict[str, dict[str, Any]]:
    """Dataset → what its `source.json` says, of those that were scanned; `first` leads."""
    datasets = sorted(store.datasets(), key=lambda dataset: (dataset.name != first, dataset.name))
    return {each.name: each.source.said() for each in datasets if (each.location / "source.json").exists()}


def _validated(spec: RunSpec, changes: dict[str, Any]) -> RunSpec:
    return RunSpec.model_validate(spec.model_dump(mode="json") | changes)


def _holds(root: str, uri: str) -> bool:
    folder = _folder(root).rstrip("/")
    return uri in (root, folder) or uri.startswith(f"{folder}/")


def _folder(root: str) -> str:
    """The folder of a glob, which is what it lists; other sources as they are."""
    return parted(Location(root))[0].uri if is_glob(root) else root
