"""Backfill: rows of a dataset under one recipe or several, slice after slice; each image is read and decoded once for all of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from trunkline.blocks import Status
from trunkline.clusters import Cluster
from trunkline.progress import Progress, Step, silent
from trunkline.reader import Features
from trunkline.specs import BackfillSpec
from trunkline.stages.backfill_opening import open_backfill, refuse_what_does_not_fit
from trunkline.stages.backfill_plan import BackfillPlan, Slice, plan_backfill
from trunkline.stages.effects import Effect, measured
from trunkline.stages.up_to_date import Lack, Made, bring_all_up_to_date, units_of
from trunkline.wording import counted, in_time

SECONDS_AN_HOUR = 3600.0


@dataclass(frozen=True)
class SliceReceipt:
    """What was done to rows [first, stop).

    Parameters
    ----------
    images : that were read, each once.
    extracted : rows that are new, ok and quarantined ones, by recipe digest.
    reasons : of the quarantined images, the most that any recipe has.
    worker_hours : workers times hours, waiting for them included.
    stopped : its time was over before its rows were.
    """

    first: int
    stop: int
    images: int
    extracted: Mapping[str, Mapping[str, int]]
    reasons: Mapping[str, int]
    workers: int
    seconds: float
    images_per_second: float | None
    stopped: bool

    @property
    def worker_hours(self) -> float:
        return self.workers * self.seconds / SECONDS_AN_HOUR

    def in_words(self) -> str:
        """In one sentence."""
        rows = f"rows {self.first:,} to {self.stop - 1:,}"
        if not self.images:
            return f"Nothing to do: all is committed of {rows}."
        bad = sum(self.reasons.values())
        speed = f", {self.images_per_second:,.0f} a second" if self.images_per_second else ""
        more = f"; {bad:,} quarantined" if bad else ""
        left = "; its hours were over before its rows" if self.stopped else ""
        return f"{self.images:,} images of {rows} in {in_time(self.seconds)}{speed}{more}{left}."

    def summary(self) -> dict[str, Any]:
        return {**asdict(self), "worker_hours": self.worker_hours}


@dataclass(frozen=True)
class BackfillReceipt:
    """What a backfill did, and why it ended: `nothing` was to do, all is `done`, or its `images` or `hours` were over.

    `left` images of the rows that were asked for have no features yet.
    """

    plan: BackfillPlan
    slices: tuple[SliceReceipt, ...]
    ended: Literal["nothing", "done", "images", "hours"]
    left: int
    seconds: float
    cost: float | None
    effects: Mapping[str, Sequence[Effect]]

    @property
    def images(self) -> int:
        return sum(each.images for each in self.slices)

    @property
    def images_per_second(self) -> float | None:
        seconds = sum(each.seconds for each in self.slices)
        return self.images / seconds if self.images and seconds else None

    @property
    def worker_hours(self) -> float:
        return sum(each.worker_hours for each in self.slices)

    def in_words(self) -> str:
        """In one sentence."""
        if self.ended == "nothing":
            return self.plan.headline
        done = f"{self.images:,} images in {counted(len(self.slices), 'slice')}, {in_time(self.seconds)}"
        why = {"images": "max_images is reached", "hours": "max_hours are over", "done": ""}[self.ended]
        left = f"{self.left:,} images are left: start the same backfill again to go on" if self.left else "nothing is left"
        return f"{done}; " + (f"{why}, and " if why else "") + f"{left}."

    def summary(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "dataset": self.plan.dataset,
            "recipes": dict(self.plan.recipes),
            "ended": self.ended,
            "images": self.images,
            "left": self.left,
            "images_per_second": self.images_per_second and round(self.images_per_second, 1),
            "seconds": round(self.seconds, 3),
            "worker_hours": round(self.worker_hours, 4),
            "cost": None if self.cost is None else round(self.cost, 4),
            "effects": {recipe: [vars(each) for each in effects] for recipe, effects in self.effects.items()},
            "slices": [each.summary() for each in self.slices],
        }


def backfill(spec: BackfillSpec, cluster: Cluster, progress: Progress = silent) -> BackfillReceipt:
    """All slices, one after the other, in this process. Started again it does what is left.

    Raises
    ------
    SpecError, StoreError, DataError, BackboneError : before the first image is read.
    TooManyBadImages, LeaseHeld, LeaseLost, StorageError : what was committed is kept.
    """
    started = time.monotonic()
    plan = plan_backfill(spec, cluster, progress)
    done: list[SliceReceipt] = []
    images = 0
    progress(Step("backfill", 0, plan.images))
    for each in plan.slices:
        left = hours_left(spec, time.monotonic() - started)
        if left == 0.0:
            break
        told = _of_all(progress, each, images, plan)
        now = spec.model_copy(update={"max_hours": left})
        done.append(backfill_slice(now, each.first, each.stop, cluster, told))
        images += each.images
    seconds = time.monotonic() - started
    stopped = len(done) < len(plan.slices) or any(each.stopped for each in done)
    ended: Literal["nothing", "done", "images", "hours"] = (
        "hours" if stopped else "images" if plan.later else "done" if done else "nothing"
    )
    read = sum(each.images for each in done)
    return BackfillReceipt(
        plan=plan,
        slices=tuple(done),
        ended=ended,
        left=plan.images - read + plan.later,
        seconds=seconds,
        cost=cost_of(spec, sum(each.worker_hours for each in done)),
        effects=effects_of(spec, cluster) if ended == "done" else {},
    )


def backfill_slice(spec: BackfillSpec, first: int, stop: int, cluster: Cluster, progress: Progress = silent) -> SliceReceipt:
    """Rows [first, stop) under all recipes; `max_hours` count from now on. What is committed is left as it is.

    Raises
    ------
    SpecError, StoreError, DataError, BackboneError : before the first image is read.
    TooManyBadImages : more than `max_bad_fraction` of at least 100 rows under a recipe; what was committed stays.
    LeaseHeld : another run writes one of the feature sets.
    """
    started = time.monotonic()
    opened = open_backfill(spec, cluster)
    targets = opened.targets
    lacks = [Lack.of(target.features) for target in targets]
    units = units_of(opened.manifest, [target.features for target in targets], [(first, stop)])
    missing = [unit for unit in units if any(lack.shards(unit) for lack in lacks)]
    if missing:
        opened.dataset.source.check()
        refuse_what_does_not_fit(spec, cluster, opened, lacks, missing)
    made = bring_all_up_to_date(
        targets,
        opened.dataset,
        cluster,
        spec.engine,
        spec.max_bad_fraction,
        progress,
        within=[(first, stop)],
        newest_first=spec.newest_first,
        enough=lambda: hours_left(spec, time.monotonic() - started) == 0.0,
    )
    digests = [target.features.recipe.digest() for target in targets]
    return SliceReceipt(
        first=first,
        stop=stop,
        images=made.images,
        extracted={digest: _counts(made, number) for number, digest in enumerate(digests)},
        reasons=_reasons(made),
        workers=cluster.workers if missing else 0,
        seconds=time.monotonic() - started,
        images_per_second=_speed(made),
        stopped=made.stopped,
    )


def effects_of(spec: BackfillSpec, cluster: Cluster) -> dict[str, Sequence[Effect]]:
    """What precision, decoding and dtype did to the features of each recipe, measured once; those of exact recipes are left out."""
    found = {}
    for target in open_backfill(spec, cluster).targets:
        if effects := measured(Features(target.features), target.backbone):
            found[target.features.recipe.digest()] = effects
    return found


def hours_left(spec: BackfillSpec, seconds: float) -> float | None:
    """Of `max_hours` after so many seconds, 0 where they are over; None without that limit."""
    return None if spec.max_hours is None else max(0.0, spec.max_hours - seconds / SECONDS_AN_HOUR)


def cost_of(spec: BackfillSpec, worker_hours: float) -> float | None:
    """At the spec's price; None without one."""
    return None if spec.price_per_worker_hour is None else worker_hours * spec.price_per_worker_hour


def _of_all(progress: Progress, now: Slice, before: int, plan: BackfillPlan) -> Progress:
    """What the extraction of a slice says, as a part of all slices; rows that hold no image any more do not count."""
    where = f"slice {now.number} of {len(plan.slices)}"

    def told(step: Step) -> None:
        if step.stage != "extract":
            return progress(step)
        note = f"{where}, {step.note}" if step.note else where
        return progress(Step("backfill", before + min(step.done, now.images), plan.images, note))

    return told


def _counts(made: Made, number: int) -> dict[str, int]:
    fresh = made.fresh[number]
    return {str(status): sum(each.statuses.get(status, 0) for each in fresh) for status in (Status.OK, Status.QUARANTINED)}


def _reasons(made: Made) -> dict[str, int]:
    reasons: dict[str, int] = {}
    for fresh in made.fresh:
        found: Counter[str] = Counter()
        for shard in fresh:
            found.update(shard.reasons)
        if found.total() > sum(reasons.values()):
            reasons = dict(found)
    return reasons


def _speed(made: Made) -> float | None:
    """Images a second from the first read to the last commit."""
    timings = [shard.timings for fresh in made.fresh for shard in fresh]
    if not timings or not made.images:
        return None
    span = max(each.committed for each in timings) - min(each.first_read for each in timings)
    return made.images / span if span > 0 else None
