"""Small real stores: a few images, the compiled backbone, and what lies in a store at a moment."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from trunkline import selection
from trunkline.clusters import Cluster
from trunkline.locations import Location
from trunkline.specs import ClusterSpec, RunSpec
from trunkline.stages.extract import ExtractReceipt, extract
from trunkline.stages.scan import scan
from trunkline.stages.select import SelectReceipt
from trunkline.store.feature_store import FeatureStore

INLINE = ClusterSpec(kind="inline")
ROWS = 64  # a shard in all of these stores


def images_in(folder: Path, digits: Path, count: int, first: int = 0) -> Path:
    """Copies of the digits number `first` to `first + count`, with their times, in their class folders."""
    for file in sorted(digits.glob("*/*.png")):
        if first <= int(file.stem) < first + count:
            place = folder / file.parent.name / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, place)
    return folder


def empty_store(place: Path, compiled_lite0: Path) -> Path:
    """A store that holds nothing but the compiled backbone."""
    FeatureStore.create(Location.of(place))
    shutil.copytree(compiled_lite0 / "backbones", place / "backbones", copy_function=os.link)  # nobody writes into them
    return place


def copy_of(store: Path, place: Path) -> Path:
    """A store to break; its backbone is shared."""
    shutil.copytree(store, place, ignore=shutil.ignore_patterns("backbones"))
    shutil.copytree(store / "backbones", place / "backbones", copy_function=os.link)
    return place


def spec_for(source: Path, store: Path, **changes: Any) -> RunSpec:
    """Inline, 64 rows a shard, one fast head; `storage` may be given as a format alone."""
    format_ = changes.pop("format", "zarr")
    said: dict[str, Any] = {
        "source": str(source),
        "store": str(store),
        "dataset": "digits",
        "cluster": INLINE.model_dump(),
        "storage": {"format": format_, "rows_per_shard": ROWS},
        "heads": [{"kind": "softmax", "C": [0.001]}],
    }
    return RunSpec.model_validate(said | changes)


def extracted(spec: RunSpec) -> ExtractReceipt:
    """Scan, then extract."""
    scan(spec)
    with Cluster(spec.cluster) as cluster:
        return extract(spec, cluster)


def objects(folder: Path) -> dict[str, tuple[str, int]]:
    """Every file below a folder: its path → SHA-256 of its bytes, and its modification time in nanoseconds."""
    return {
        str(file.relative_to(folder)): (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def committed_objects(feature_set: Path) -> dict[str, tuple[str, int]]:
    """The objects of a feature set that are written once: arrays' data, commit records, moments, recipe and layout.

    The arrays' own headers, which say how many rows there are, the leases and the report's pointer are left out.
    """
    rewritten = ("zarr.json", "features.h5", "report.json")
    return {
        name: what
        for name, what in objects(feature_set).items()
        if not name.endswith(rewritten) and not name.startswith("leases/") and not name.endswith(".tmp")
    }


def feature_set_in(store: Path) -> Path:
    """The only feature set of a store."""
    (found,) = (store / "features").glob("*/*")
    return found


def other_mask(refitted: SelectReceipt) -> None:
    """Pin a mask that drops one column more."""
    mask = selection.load(Location(refitted.mask))
    layer = mask.layers[refitted.layer]
    kept = layer.kept.copy()
    kept[kept.argmax()] = False
    folder = Location(refitted.mask.rsplit("/", 1)[0])
    selection.create(folder, mask.rows, {refitted.layer: replace(layer, kept=kept)})
