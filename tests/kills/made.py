"""What all series share: images, two of them broken, a compiled backbone, what an undisturbed run gives, fresh stores."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import numpy as np

from tests.kills.place import QUARANTINED, Place, Undisturbed
from tests.kills.started import STAGES, Log, started
from tests.s3 import upload
from tests.stores import ROWS, empty_store, images_in
from trunkline import open_features
from trunkline.locations import Location, filesystem
from trunkline.specs import ClusterSpec
from trunkline.store.feature_store import FeatureStore


def images(folder: Path, digits: Path, count: int) -> Path:
    """So many handwritten digits, and two images that are none."""
    images_in(folder, digits, count)
    for name in QUARANTINED:
        (folder / name).write_bytes(b"no image")
    return folder


def fresh(kind: str, folder: Path, source: Path, backbone: Path) -> Place:
    """An empty store that holds the compiled backbone; S3 where the environment says."""
    folder.mkdir(parents=True, exist_ok=True)
    if kind != "s3":
        return Place(kind, str(empty_store(folder / "store", backbone)), source)
    bucket = f"trunkline-{uuid.uuid4().hex}"
    filesystem("s3").call_s3("create_bucket", Bucket=bucket)
    store = Location.of(f"s3://{bucket}/store")
    FeatureStore.create(store)
    upload(backbone / "backbones", store / "backbones")
    return Place(kind, store.uri, source)


def undisturbed(folder: Path, source: Path, backbone: Path) -> Undisturbed:
    """A run of one process, the serial loop, that nothing happens to."""
    place, log = fresh("zarr", folder, source, backbone), Log(folder / "log")
    with started(place.spec(ClusterSpec(kind="inline")), folder, log) as run:
        code, out, said = run.ended()
    assert code == 0, said
    summary = json.loads(out.splitlines()[-1])
    features = open_features(place.store)
    x, y = features.numpy()
    at = {stage: next(line["time"] for line in log.lines() if line.get("stage") == stage) for stage in (*STAGES, "ended")}
    took = {stage: at[after] - at[stage] for stage, after in zip(STAGES, [*STAGES[1:], "ended"], strict=True)}
    took["extract"] /= summary["rows"] / ROWS  # of one shard
    return Undisturbed(summary["rows"], took, features.rows().astype(np.int64), x, y, summary["heads"], place.derived())
