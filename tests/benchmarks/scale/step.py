"""One step in a process of its own, so that its memory is its own: `python -m tests.benchmarks.scale.step STEP ROWS STORE`."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.benchmarks.scale import stub
from trunkline import open_features
from trunkline.clusters import Cluster
from trunkline.locations import Location
from trunkline.progress import silent
from trunkline.specs import RunSpec
from trunkline.stages import extract, preview, scan
from trunkline.store.feature_store import FeatureStore


def spec_of(rows: int, store: str, kind: str = "local") -> RunSpec:
    said = {"source": f"stub://{rows}", "store": store, "dataset": "stub", "cluster": {"kind": kind, "workers": 2}}
    return RunSpec.model_validate(said)


def listing(rows: int, store: str) -> dict[str, Any]:  # noqa: ARG001
    return {"images": sum(1 for _ in stub.StubSource(Location(f"stub://{rows}")).listing())}


def scanned(rows: int, store: str) -> dict[str, Any]:
    receipt = scan.scan(spec_of(rows, store))
    return {"added": receipt.added, "unchanged": receipt.unchanged}


def planned(rows: int, store: str) -> dict[str, Any]:
    spec = spec_of(rows, store)
    dataset = FeatureStore.open(Location.of(store)).dataset("stub")
    found = preview.preview(spec, dataset, None, 64, silent).images
    return {"new": found.new, "to_do": found.to_do, "unchanged": found.unchanged}


def extracted(rows: int, store: str) -> dict[str, Any]:
    spec = spec_of(rows, store)
    with Cluster(spec.cluster) as cluster:
        client: Any = cluster.executor
        client.client.run(stub.install)
        started = time.monotonic()
        receipt = extract.extract(spec, cluster)
        seconds = time.monotonic() - started
        peaks = client.client.run(peak)
    return {"ok": receipt.counts.ok, "extracted": receipt.extracted, "inside": seconds, "worker": max(peaks.values())}


def extracted_alone(rows: int, store: str) -> dict[str, Any]:
    spec = spec_of(rows, store, "inline")
    with Cluster(spec.cluster) as cluster:
        receipt = extract.extract(spec, cluster)
    return {"ok": receipt.counts.ok, "extracted": receipt.extracted}


def again(rows: int, store: str) -> dict[str, Any]:
    """What a nightly run costs where nothing is new: scan and extract."""
    spec = spec_of(rows, store)
    found = scanned(rows, store)
    with Cluster(spec.cluster) as cluster:
        receipt = extract.extract(spec, cluster)
    return found | {"ok": receipt.counts.ok, "extracted": receipt.extracted}


def index(rows: int, store: str) -> dict[str, Any]:
    features = open_features(store)
    return {"rows": len(features.rows()), "training": len(features.rows("train")), "expected": rows}


STEPS: dict[str, Callable[[int, str], dict[str, Any]]] = {
    "listing": listing,
    "scan": scanned,
    "plan": planned,
    "extract": extracted,
    "extract-inline": extracted_alone,
    "again": again,
    "index": index,
}


def peak() -> float:
    """MiB of this process at its largest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(step: str, rows: int, store: str) -> None:
    stub.install()
    started, cpu = time.monotonic(), time.process_time()
    found = STEPS[step](rows, store)
    took = {"seconds": time.monotonic() - started, "cpu": time.process_time() - cpu}
    sys.stdout.write(json.dumps({"step": step, "rows": rows, **took, "driver": peak(), **found}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
