"""trunkline's own way: scan and extract, from the folder to a committed store."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.job import Job, Timing
from tests.benchmarks.networks import NETWORKS


def spec_of(job: Job, precision: str = "f32", kind: str = "local", store: Path | None = None) -> Any:
    """The RunSpec of a job; its store lies in the job's working folder unless another is named."""
    from trunkline.specs import RunSpec

    said: dict[str, Any] = {
        "source": job.images,
        "store": str(store or Path(job.work, "store")),
        "dataset": "benchmark",
        "backbone": NETWORKS[job.network].backbone,
        "weights": "random",
        "precision": precision,
        "cluster": {"kind": kind},
    }
    return RunSpec.model_validate(said)


def compile_backbone(job: Job, precision: str) -> Timing:
    """Compile the backbone into a store that later repeats copy it from; run once, before anything is measured."""
    started = time.perf_counter()
    compiled_backbone(job, precision)
    return Timing.same(0, time.perf_counter() - started)


def compiled_backbone(job: Job, precision: str) -> Any:
    """The compiled backbone that all repeats share."""
    from trunkline.backbones.compiled import compiled
    from trunkline.backbones.resolution import order_of
    from trunkline.locations import Location

    store = compiled_store(job, precision)
    return compiled(Location.of(str(store)), order_of(spec_of(job, precision, store=store)))


def compiled_store(job: Job, precision: str) -> Path:
    return Path(job.compiled, f"{job.network}-{precision}")


def with_backbone(job: Job, precision: str) -> set[str]:
    """Make the job's store and put the compiled backbone into it; the names of what lies there."""
    from trunkline.locations import Location
    from trunkline.store.feature_store import FeatureStore

    FeatureStore.create(Location.of(str(Path(job.work, "store"))))
    shutil.copytree(compiled_store(job, precision) / "backbones", Path(job.work, "store", "backbones"))
    return _backbones(job)


def refuse_compilation(job: Job, before: set[str]) -> None:
    """A backbone that was compiled inside the measurement would have been counted."""
    if _backbones(job) != before:
        raise RuntimeError("The backbone was compiled inside the measurement: the recipe prepared before is another one.")


def run(job: Job, precision: str = "f32", kind: str = "local") -> Timing:
    """Counted as whole: scanning the folder, starting the workers, which load and check the backbone, and extracting, until the
    last shard is committed and counted; in bf16 also the comparison of some rows with f32 that an extraction ends with. Not
    counted: imports, compiling the backbone, and stopping the workers.

    Counted as steady: from the first read to the last commit, as the receipt says it.
    """
    from trunkline.clusters import Cluster
    from trunkline.stages.extract import extract
    from trunkline.stages.scan import scan

    spec = spec_of(job, precision, kind)
    before = with_backbone(job, precision)
    started = time.perf_counter()
    scan(spec)
    scanned = time.perf_counter()
    with Cluster(spec.cluster) as cluster:
        receipt = extract(spec, cluster)
        ended = time.perf_counter()
    refuse_compilation(job, before)
    if receipt.counts.ok != job.count or not receipt.images_per_second:
        raise RuntimeError(f"{receipt.counts} of {job.count} images: {dict(receipt.reasons)}")
    return Timing(
        images=receipt.counts.ok,
        whole_seconds=ended - started,
        steady_seconds=receipt.extracted / receipt.images_per_second,
        notes={"scan_seconds": scanned - started, "extract_seconds": receipt.seconds, "shards": receipt.shards_done},
    )


def _backbones(job: Job) -> set[str]:
    return {place.name for place in Path(job.work, "store", "backbones").iterdir()}
