"""Feature sets of one dataset brought up to date together: what is not committed is fanned out, under each one's lease."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trunkline.accounting import Account, RowCounts, refuse_strange
from trunkline.backbones.compiled import Compiled
from trunkline.blocks import Status
from trunkline.clusters import Cluster
from trunkline.clusters.admission import admitted
from trunkline.clusters.surroundings import SCRATCH_BYTES, Needs
from trunkline.engine import Engine, chosen
from trunkline.errors import DataError, TooManyBadImages
from trunkline.extraction import ExtractionJob, RowsReceipt, ShardReceipt, SharedJob, extract_rows
from trunkline.locations import storage_errors_in_words
from trunkline.manifest import Manifest
from trunkline.progress import Progress, Step, silent
from trunkline.projection import Projection
from trunkline.shards import Shard, plan, remaining
from trunkline.specs import EngineSpec
from trunkline.stages.watched import watched_shards
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset
from trunkline.store.lease import Lease, hold

MIN_ROWS_FOR_BAD_FRACTION = 100

Spans = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Target:
    """A feature set to bring up to date, and what computes it; the runtime may be `auto`."""

    features: FeatureSet
    backbone: Compiled
    runtime: str = "auto"

    @property
    def said(self) -> str:
        """Backbone, layers and pooling in a few words."""
        recipe = self.features.recipe
        return f"{recipe.backbone} at {', '.join(recipe.layers)} ({recipe.pooling}, {recipe.precision}, {recipe.dtype})"


@dataclass(frozen=True)
class Made:
    """What was made: for each target the receipts of its new shards; its engine, None where there was nothing to do for it.

    `images` were read; `stopped` says that `enough` ended it with shards left.
    """

    fresh: Sequence[Sequence[ShardReceipt]]
    engines: Sequence[Engine | None]
    images: int
    stopped: bool


def bring_up_to_date(
    features: FeatureSet,
    dataset: Dataset,
    backbone: Compiled,
    cluster: Cluster,
    how: EngineSpec,
    runtime: str = "auto",
    max_bad_fraction: float = 1.0,
    progress: Progress = silent,
) -> tuple[Sequence[ShardReceipt], Engine | None]:
    """Extract the shards without a commit record; their receipts, and the engine where there were any. Raises as `bring_all_up_to_date`."""
    made = bring_all_up_to_date([Target(features, backbone, runtime)], dataset, cluster, how, max_bad_fraction, progress)
    return made.fresh[0], made.engines[0]


def bring_all_up_to_date(
    targets: Sequence[Target],
    dataset: Dataset,
    cluster: Cluster,
    how: EngineSpec,
    max_bad_fraction: float = 1.0,
    progress: Progress = silent,
    *,
    within: Spans | None = None,
    newest_first: bool = False,
    enough: Callable[[], bool] = lambda: False,
) -> Made:
    """Extract what any of the targets lacks, each image read and decoded once; leases are taken in the order of the targets' places.

    Parameters
    ----------
    within : row ranges; units of work that lie in none of them, in no part, are left. All rows by default.
    newest_first : begin with the last rows.
    enough : asked before each unit of work; what is in progress then is finished.

    Raises
    ------
    LeaseHeld : another run writes one of these feature sets.
    TooManyBadImages : more than `max_bad_fraction` of at least 100 rows of a target; what was committed stays.
    """
    manifest = dataset.manifest
    units = units_of(manifest, [target.features for target in targets], within)
    behind = [target for target in targets if not _is_up_to_date(Lack.of(target.features), manifest, units)]
    order = sorted(behind, key=_place)
    receipts: list[RowsReceipt] = []
    engines: dict[str, Engine] = {}
    asked = _Units([], enough)
    with contextlib.ExitStack() as held:
        leases = [held.enter_context(_held(target.features, progress)) for target in order]
        lacks = [_prepared(target.features, manifest, units) for target in order]
        missing = [unit for unit in units if any(lack.shards(unit) for lack in lacks)]
        if missing:
            progress(Step("extract", 0, None, f"{_projected(lacks, units)}; starting workers"))
            jobs = [_job(target, lease, dataset, cluster, how) for target, lease in zip(order, leases, strict=True)]
            engines = {job.feature_set.uri: job.engine for job in jobs}
            asked = _Units(missing[::-1] if newest_first else missing, enough)
            rows = sum(rows_missing(unit, lacks) for unit in missing)
            progress(Step("extract", 0, None, "looking at the workers"))
            for job in jobs:
                held.enter_context(admitted(cluster.executor, _needs(job, dataset, cluster)))
            watch = [held.enter_context(_watched(dataset, lack, missing)) for lack in lacks]
            receipts = _run(SharedJob(tuple(jobs)), asked, rows, cluster, max_bad_fraction, progress, watch)
        for target in order:
            _seal(target.features, manifest)
    fresh = {_place(target): _fresh(receipts, number) for number, target in enumerate(order)}
    return Made(
        fresh=[fresh.get(_place(target), []) for target in targets],
        engines=[engines.get(_place(target)) for target in targets],
        images=sum(each.images for each in receipts),
        stopped=asked.stopped,
    )


@dataclass(frozen=True)
class Lack:
    """What a feature set lacks: all shards but those with these names."""

    features: FeatureSet
    done: frozenset[str]

    @classmethod
    def of(cls, features: FeatureSet) -> Lack:
        """One listing."""
        return cls(features, features.commits.done())

    def shards(self, unit: Shard) -> list[Shard]:
        """Of a unit of work, those that are missing."""
        return remaining(plan([(unit.start, unit.stop)], self.features.layout.rows_per_shard), self.done)


def units_of(manifest: Manifest, feature_sets: Sequence[FeatureSet], within: Spans | None = None) -> list[Shard]:
    """The units of work, in row order: ranges that are whole shards of every one of these feature sets."""
    rows = max(features.layout.rows_per_shard for features in feature_sets)
    units = plan(manifest.spans, rows)
    if within is None:
        return list(units)
    return [unit for unit in units if any(unit.start < stop and start < unit.stop for start, stop in within)]


def rows_missing(unit: Shard, lacks: Sequence[Lack], removed: NDArray[np.int64] | None = None) -> int:
    """Rows of a unit that any feature set lacks; those among `removed`, sorted, do not count."""
    missing = np.zeros(unit.rows, bool)
    for lack in lacks:
        for shard in lack.shards(unit):
            missing[shard.start - unit.start : shard.stop - unit.start] = True
    if removed is not None:
        missing[removed[slice(*np.searchsorted(removed, (unit.start, unit.stop)))] - unit.start] = False
    return int(missing.sum())


class _Units:
    """Units of work until it is enough; they are asked for as the cluster has room."""

    def __init__(self, units: Sequence[Shard], enough: Callable[[], bool]) -> None:
        self._units, self._enough, self.stopped = units, enough, False

    def __iter__(self) -> Iterator[Shard]:
        for unit in self._units:
            if self._enough():
                self.stopped = True
                return
            yield unit


def _is_up_to_date(lack: Lack, manifest: Manifest, units: Sequence[Shard]) -> bool:
    if any(lack.shards(unit) for unit in units):
        return False
    return lack.features.arrays.is_sealed(_committed(lack, manifest))


def _committed(lack: Lack, manifest: Manifest) -> list[Shard]:
    shards = plan(manifest.spans, lack.features.layout.rows_per_shard)
    return [shard for shard in shards if shard.name in lack.done]


def _held(features: FeatureSet, progress: Progress) -> contextlib.AbstractContextManager[Lease]:
    return hold(features.leases, waiting=lambda held: progress(Step("extract", 0, None, _waiting(held))))


def _prepared(features: FeatureSet, manifest: Manifest, units: Sequence[Shard]) -> Lack:
    """Arrays long enough for all rows, and no sealed file that holds a shard which will be written; what is missing. Under the lease."""
    with storage_errors_in_words(features.location):
        features.arrays.grow(manifest.rows)
    lack = Lack.of(features)
    features.commits.unseal([shard.name for unit in units for shard in lack.shards(unit)])
    return lack


def _seal(features: FeatureSet, manifest: Manifest) -> None:
    features.arrays.seal(_committed(Lack.of(features), manifest))
    features.commits.seal(lambda commit: refuse_strange(commit, manifest))


def _projected(lacks: Sequence[Lack], units: Sequence[Shard]) -> str:
    rows = [sum(shard.rows for unit in units for shard in lack.shards(unit)) for lack in lacks]
    projections = [
        Projection.of(lack.features.layout, count, lack.features.location) for lack, count in zip(lacks, rows, strict=True)
    ]
    return "; ".join(str(projection) for projection in projections if projection.rows)


@contextlib.contextmanager
def _watched(dataset: Dataset, lack: Lack, units: Sequence[Shard]) -> Iterator[Callable[[ShardReceipt], None]]:
    """What is called with each receipt; those of shards that were committed before do not count."""
    shards = sum(len(lack.shards(unit)) for unit in units)
    with watched_shards(dataset.name, lack.features.recipe.backbone, shards) as watch:
        yield lambda shard: None if shard.shard.name in lack.done else watch(shard)


def _job(target: Target, lease: Lease, dataset: Dataset, cluster: Cluster, how: EngineSpec) -> ExtractionJob:
    engine = chosen(
        how,
        target.backbone,
        runtime=runtime_for(target.runtime, target.backbone, cluster),
        workers=cluster.executor.workers,
        threads=cluster.executor.threads,
        local_source=dataset.source.is_local,
    )
    return ExtractionJob(dataset.location, target.features.location, target.backbone, engine, lease)


def _needs(job: ExtractionJob, dataset: Dataset, cluster: Cluster) -> Needs:
    """What a worker must have before its first shard."""
    return Needs(
        runtime=job.engine.runtime,
        features=job.feature_set,
        lease=job.lease,
        backbone=job.backbone,
        dataset=dataset.location if dataset.source.is_local else None,
        gpu=cluster.on_gpus and job.engine.runtime == "tensorflow",
        scratch=SCRATCH_BYTES,
    )


def _run(
    shared: SharedJob,
    units: Iterable[Shard],
    rows: int,
    cluster: Cluster,
    most: float,
    progress: Progress,
    watch: Sequence[Callable[[ShardReceipt], None]],
) -> list[RowsReceipt]:
    """Receipts of the units. It stops early for the bad images of this run under any recipe; all of them are judged elsewhere."""
    receipts: list[RowsReceipt] = []
    accounts = [_Bad() for _ in shared.jobs]
    done = 0
    progress(Step("extract", 0, rows))
    for each in cluster.executor.map(extract_rows, shared, units):
        receipts.append(each)
        for account, seen, shards in zip(accounts, watch, each.receipts, strict=True):
            account.add(shards)
            for shard in shards:
                seen(shard)
        bad = max(account.bad for account in accounts)
        done += each.done
        if each.done:
            progress(Step("extract", done, rows, f"{bad} quarantined" if bad else ""))
        for account in accounts:
            account.stop_if_too_many(most)
    return receipts


class _Bad:
    """What this run read under one recipe, and how much of it was unreadable."""

    def __init__(self) -> None:
        self._statuses: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()

    @property
    def bad(self) -> int:
        return self._statuses[Status.QUARANTINED]

    def add(self, shards: Iterable[ShardReceipt]) -> None:
        for each in shards:
            if not each.reused:
                self._statuses.update(each.statuses)
                self._reasons.update(each.reasons)

    def stop_if_too_many(self, most: float) -> None:
        stop_if_too_bad(Account(RowCounts(self._statuses[Status.OK], self.bad, 0), self._reasons), most)


def stop_if_too_bad(so_far: Account, most: float) -> None:
    """Raises TooManyBadImages where more than this share could not be read, DataError where not one could; from 100 images on."""
    bad, seen = so_far.counts.quarantined, so_far.counts.ok + so_far.counts.quarantined
    if seen >= MIN_ROWS_FOR_BAD_FRACTION and bad > most * seen:
        if bad == seen:
            raise nothing_readable(so_far)
        raise TooManyBadImages(
            f"{bad} of {seen} images could not be read ({_in_words(so_far.reasons)}), more than the allowed {most:.0%}. What was extracted "
            "is kept. `trunkline quarantine STORE` lists them; repair the source, or allow more with --max-bad and start again."
        )


def nothing_readable(so_far: Account) -> DataError:
    return DataError(
        f"Not one of {so_far.counts.quarantined} images could be read ({_in_words(so_far.reasons)}). Is the source a folder of images? "
        "`trunkline quarantine STORE` lists them."
    )


def runtime_for(asked: str, backbone: Compiled, cluster: Cluster) -> str:
    """`auto` resolved: tensorflow where GPUs or half precision ask for it, else openvino."""
    if asked != "auto":
        return asked
    if backbone.precision == "mixed_float16":
        return "tensorflow"
    return "tensorflow" if cluster.on_gpus and backbone.precision == "f32" and backbone.runs_on_tensorflow else "openvino"


def _place(target: Target) -> str:
    return target.features.location.uri


def _fresh(receipts: Iterable[RowsReceipt], number: int) -> list[ShardReceipt]:
    return [shard for each in receipts for shard in each.receipts[number] if not shard.reused]


def _in_words(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in Counter(reasons).most_common())


def _waiting(held: Lease) -> str:
    return f"waiting for lease {held.number} of process {held.pid} on {held.host}"
