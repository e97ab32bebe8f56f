"""Predict: a fitted head over committed rows, from their stored features; once for the same rows and head."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trunkline.backbones.compiled import Compiled, committed_backbone
from trunkline.errors import DataError
from trunkline.exporting.placing import placed
from trunkline.heads.opening import OpenHead, chosen_in, open_head
from trunkline.locations import Location
from trunkline.moments import rows_key
from trunkline.predictor.answers import columns_of, fields_of
from trunkline.progress import Progress, Step, silent
from trunkline.reader import Features, open_features
from trunkline.reading.selection import Selection
from trunkline.specs import digest_of
from trunkline.store.feature_store import FeatureStore
from trunkline.tables import open_parquet

BLOCK_BYTES = 16 * 2**20  # of whole shards in the store, before the mask
SHOWN = 10  # rows for people


@dataclass(frozen=True)
class PredictReceipt:
    """What was predicted for committed rows; `cached` where the same rows were predicted by the same head before.

    `counts` is how many rows each class or label was given to; empty of a regression. `first` are the first rows.
    """

    predictions: str
    head: str
    feature_set: str
    mask: str
    rows: int
    cached: bool
    counts: Mapping[str, int]
    first: Sequence[Mapping[str, Any]]
    seconds: float


def head_of(uri: str, asked: str | None, dataset: str | None = None) -> tuple[Features, OpenHead]:
    """A feature set, and a head that was fitted on it.

    Parameters
    ----------
    uri : a feature set, or a store that holds one (of `dataset`).
    asked : a kind, name or digest; None for the only one.

    Raises
    ------
    StoreError : no feature set there, or several.
    DataError : no such head, several, or one of another feature set.
    CorruptStore : the head or its mask is damaged.
    """
    features = open_features(uri, dataset=dataset)
    store = FeatureStore(Location(features.uri.rsplit("/", 3)[0]))
    folder = store.beside("heads", features.feature_set)
    name = chosen_in(folder, asked)
    return features, open_head(folder / name, store.root, features.recipe.digest(), features.layers)


def predict_rows(
    uri: str,
    head: str | None = None,
    *,
    dataset: str | None = None,
    split: str | None = None,
    batch: int | None = None,
    rows: slice | None = None,
    progress: Progress = silent,
) -> PredictReceipt:
    """Predict live committed rows from their stored features; nothing is extracted again.

    Parameters
    ----------
    uri, head, dataset : as in `head_of`.
    split, batch, rows : only of this split, added by this batch of the manifest, with these row numbers.

    Raises
    ------
    As `head_of`; DataError where no row is meant.
    """
    started = time.monotonic()
    features, opened = head_of(uri, head, dataset)
    meant = Selection(split, batch=batch, rows=rows).rows_of(features.snapshot)
    if not len(meant):
        raise DataError(
            f"No row of {features.uri} with features is meant. Leave out --split, --batch or --rows, or extract first."
        )
    said = _said_of_rows(features, opened, meant)
    place = _folder(features, opened) / f"rows-{digest_of(said)}.parquet"
    cached = place.exists()
    if not cached:
        with placed([place]) as (path,):
            schema = pa.schema([pa.field("row", pa.int64()), pa.field("id", pa.string()), *fields_of(opened.target)])
            with pq.ParquetWriter(path, schema.with_metadata(said), compression="zstd", write_page_checksum=True) as writer:
                for table in _tables(features, opened, meant, progress):
                    writer.write_table(table.cast(schema).replace_schema_metadata(said))
    counts, first = _looked_at(place, opened)
    return PredictReceipt(
        predictions=place.uri,
        head=opened.name,
        feature_set=features.uri,
        mask=opened.mask,
        rows=len(meant),
        cached=cached,
        counts=counts,
        first=first,
        seconds=time.monotonic() - started,
    )


def last_environment(features: Features) -> Mapping[str, str]:
    """Of the last committed shard: runtime, batch, versions."""
    environment: Mapping[str, str] = {}
    for commit in features.commits():
        environment = commit.environment
    return environment


def backbone_of(features: Features) -> tuple[Compiled, str]:
    """The compiled backbone and the runtime by which the last shard was extracted. Raises StoreError where it is gone from the store."""
    environment = last_environment(features)
    store = Location(features.uri.rsplit("/", 3)[0])
    return committed_backbone(store, features.recipe, environment.get("batch")), environment.get("runtime", "openvino")


def _said_of_rows(features: Features, head: OpenHead, rows: NDArray[np.int64]) -> dict[str, str]:
    return said_of(features, head) | {"trunkline.rows": rows_key(rows)}


def said_of(features: Features, head: OpenHead) -> dict[str, str]:
    return {
        "trunkline.head": head.name,
        "trunkline.mask": head.mask,
        "trunkline.recipe": head.recipe,
        "trunkline.dataset": features.dataset.name,
        "trunkline.layer": head.layer,
        "trunkline.target": head.target.kind,
        "trunkline.names": json.dumps(head.target.names),
    }


def _folder(features: Features, head: OpenHead) -> Location:
    store = FeatureStore(Location(features.uri.rsplit("/", 3)[0]))
    return store.beside("predictions", features.feature_set) / head.name


def _tables(features: Features, head: OpenHead, rows: NDArray[np.int64], progress: Progress) -> Iterator[pa.Table]:
    """A table a run of whole shards, so that memory does not grow with the rows."""
    reader = features.view(layer=head.layer).reader
    progress(Step("predict", 0, len(rows)))
    for first, last in reader.cut(rows, BLOCK_BYTES):
        some = rows[first:last]
        outputs = head.fitted.outputs(np.asarray(reader.read(some, head.columns), np.float32))
        names = ["row", "id", *(field.name for field in fields_of(head.target))]
        yield pa.table([pa.array(some), features.snapshot.ids(some), *columns_of(head.target, outputs)], names)
        progress(Step("predict", last, len(rows)))


def _looked_at(place: Location, head: OpenHead) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """Counts by name, and the first rows, from the file itself."""
    answer = fields_of(head.target)[0].name
    counts: Counter[str] = Counter()
    with open_parquet(place, in_pieces=True) as file:
        first = next(file.iter_batches(SHOWN), None)
        if head.target.kind != "regression":
            for piece in file.iter_batches(2**16, columns=[answer]):
                column = piece[0].flatten() if head.target.kind == "multilabel" else piece[0]
                counts.update({each["values"]: each["counts"] for each in column.value_counts().to_pylist()})
    return {name: counts[name] for name in head.target.names if counts[name]}, first.to_pylist() if first else []
