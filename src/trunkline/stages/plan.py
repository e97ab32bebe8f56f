"""Plan: what a run would do and cost, from the listing and a measured sample. The store is read, never written."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trunkline.backbones.compilation import Order
from trunkline.backbones.compiled import Compiled, committed_backbone, compiled
from trunkline.clusters import Cluster
from trunkline.errors import StoreError
from trunkline.locations import Location
from trunkline.machine import available_memory
from trunkline.progress import Progress, Step, silent
from trunkline.projection import Projection
from trunkline.shards import MIN_ROWS, remaining
from trunkline.shards import plan as shards_of
from trunkline.specs import RunSpec
from trunkline.stages.costs import Duration, Memory, Output, duration_of, memory_of, notes_on, output_of
from trunkline.stages.extract import (
    layout_for,
    order_for,
    refuse_private_storage,
    refuse_what_does_not_fit,
)
from trunkline.stages.preview import Images, Preview, preview
from trunkline.stages.trial import tried
from trunkline.stages.up_to_date import runtime_for
from trunkline.store.arrays import open_arrays
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import FeatureStore
from trunkline.store.layout import ArrayLayout
from trunkline.wording import in_bytes, in_time

SAMPLE = 64


@dataclass(frozen=True)
class Plan:
    """What a run would cost. `output`, `time` and `memory` are None where there is nothing to do, or where they could not be measured.

    `engine` is how workers would use their machine; `sampled` images were measured, `bad` of them unreadable, by reason; `notes` say
    what was assumed, and what a run would stumble over.
    """

    source: str
    store: str
    dataset: str
    images: Images
    output: Output | None
    time: Duration | None
    memory: Memory | None
    free: int | None
    engine: Mapping[str, Any] | None
    sampled: int
    bad: Mapping[str, int]
    notes: Sequence[str]

    @property
    def headline(self) -> str:
        """The plan in one sentence."""
        if not self.images.to_do:
            return f"Nothing to do: all {self.images.unchanged:,} images are extracted."
        to_do = f"{self.images.to_do:,} images to do"
        size = ""
        if self.output:
            size = f"{in_bytes(self.output.stored_bytes or self.output.bytes)} into {self.store}"
        if not self.time or not self.engine:
            return f"{to_do}: {size}; how long it takes was not measured."
        workers = self.engine["workers"]
        return f"{to_do}: about {in_time(self.time.seconds)} on {workers} worker{'s' * (workers != 1)}, {size}."

    def summary(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {"plan": self.headline, **asdict(self)}


def plan(spec: RunSpec, cluster: Cluster, sample: int = SAMPLE, progress: Progress = silent) -> Plan:
    """What a run of this spec would cost, without writing anything into its store.

    Parameters
    ----------
    sample : images that are extracted, over and over, into a temporary folder of this machine, to see how long they take.

    Raises
    ------
    BackboneError, SourceError, StoreError, DataError, SpecError : what a run would refuse before its first image.
    """
    root = Location.of(spec.store)
    order = order_for(spec, cluster)
    refuse_private_storage(root, cluster)
    store = FeatureStore.existing(root) or FeatureStore(root)
    location = store.feature_set_location(spec.dataset_name, order.recipe)
    open_arrays(location, ArrayLayout(spec.storage.format, MIN_ROWS, {}))  # refuses a format that cannot lie there
    before = FeatureSet.open(location) if (location / "layout.json").exists() else None
    found = preview(spec, store.dataset(spec.dataset_name), before, sample, progress)
    if not found.images.to_do:
        return _nothing(spec, root, found)
    with tempfile.TemporaryDirectory(prefix="trunkline-plan-", ignore_cleanup_errors=True) as folder:
        scratch = Location.of(folder)
        progress(Step("plan", 0, None, "preparing the backbone"))
        backbone, compiling = _backbone(root, scratch, order)
        layout = layout_for(location, spec, found.spans, backbone, cluster)
        _refuse_another_format(before, spec, location)
        missing = found.missing or remaining(shards_of(found.spans, layout.rows_per_shard), ())
        refuse_what_does_not_fit(spec, cluster, backbone, layout, missing, root)
        projection = Projection.of(layout, sum(shard.rows for shard in missing), root)
        available = available_memory()
        trial = None
        if cluster.is_here:
            runtime = runtime_for(spec.runtime, backbone, cluster)
            evict = found.source.is_local and available is not None and found.images.bytes > available
            rows = found.images.to_do
            trial = tried(
                scratch,
                found.source,
                found.sample,
                order.recipe,
                layout,
                backbone,
                runtime,
                spec,
                cluster,
                rows,
                evict,
                progress,
            )
    output = output_of(projection, layout, len(missing), trial)
    return Plan(
        source=found.source.root.uri,
        store=root.uri,
        dataset=spec.dataset_name,
        images=found.images,
        output=output,
        time=duration_of(found, compiling, len(missing), trial) if trial else None,
        memory=memory_of(layout, backbone, cluster, trial, available) if trial else None,
        free=projection.free,
        engine=asdict(trial.engine) if trial else None,
        sampled=trial.images if trial else 0,
        bad=trial.bad if trial else {},
        notes=[*found.notes, *notes_on(spec, found, projection, output, trial)],
    )


def _backbone(root: Location, scratch: Location, order: Order) -> tuple[Compiled, float]:
    """From the store, else compiled into the scratch folder; and the seconds that compiling took."""
    try:
        there = committed_backbone(root, order.recipe, None if order.batch is None else str(order.batch))
        if order.batch in (None, there.batch):
            return there, 0.0
    except StoreError:
        pass
    started = time.monotonic()
    made = compiled(scratch / "backbone", order)
    return made, time.monotonic() - started


def _refuse_another_format(before: FeatureSet | None, spec: RunSpec, location: Location) -> None:
    if before and before.layout.format != spec.storage.format:
        raise StoreError(
            f"{location} is stored as {before.layout.format}; the format is fixed when a feature set is created. "
            f"Use --format {before.layout.format}, or another --store for {spec.storage.format}."
        )


def _nothing(spec: RunSpec, root: Location, found: Preview) -> Plan:
    time_ = Duration(found.seconds, found.seconds, 0.0, 0.0, 0.0, 0.0, "scan", {})
    source = found.source.root.uri
    return Plan(
        source, root.uri, spec.dataset_name, found.images, None, time_, None, root.free(), None, 0, {}, list(found.notes)
    )
