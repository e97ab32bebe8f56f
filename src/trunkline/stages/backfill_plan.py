"""What a backfill has to do: what is not committed yet, cut into slices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from trunkline.clusters import Cluster
from trunkline.manifest import Manifest
from trunkline.progress import Progress, silent
from trunkline.shards import Shard
from trunkline.specs import BackfillSpec
from trunkline.stages.backfill_opening import OpenBackfill, open_backfill, refuse_what_does_not_fit
from trunkline.stages.backfill_pace import Pace, pace_of
from trunkline.stages.up_to_date import Lack, rows_missing, units_of
from trunkline.wording import counted


@dataclass(frozen=True)
class Slice:
    """Rows [first, stop) of a backfill, its `number` counted from 1.

    `images` are to be read; `to_do` of them have no features yet, by recipe digest; `bytes` are those of their files; `seconds` is
    None where no commit record tells yet how long images take.
    """

    number: int
    first: int
    stop: int
    images: int
    to_do: Mapping[str, int]
    bytes: int
    seconds: float | None


@dataclass(frozen=True)
class BackfillPlan:
    """What is to be done, in this order.

    Parameters
    ----------
    recipes : digest → backbone and layers, in words.
    chosen : images of the rows that were asked for.
    later : images that are beyond `max_images`.
    """

    store: str
    dataset: str
    recipes: Mapping[str, str]
    slices: tuple[Slice, ...]
    chosen: int
    later: int

    @property
    def images(self) -> int:
        """To be read, in all slices."""
        return sum(each.images for each in self.slices)

    @property
    def seconds(self) -> float | None:
        """Estimated for all slices."""
        known = [each.seconds for each in self.slices if each.seconds is not None]
        return sum(known) if len(known) == len(self.slices) else None

    @property
    def headline(self) -> str:
        """In one sentence."""
        recipes = counted(len(self.recipes), "recipe")
        if not self.slices:
            return f"Nothing to do: all {self.chosen:,} images of these rows have features under {recipes}."
        later = f"; {self.later:,} more are left for later" if self.later else ""
        return f"{self.images:,} images of {self.dataset} under {recipes}, in {counted(len(self.slices), 'slice')}{later}."

    def summary(self) -> dict[str, Any]:
        return {"plan": self.headline, **asdict(self)}


def plan_backfill(spec: BackfillSpec, cluster: Cluster, progress: Progress = silent) -> BackfillPlan:
    """The slices of what is not committed yet. Feature sets that are new are created; no image is read.

    Raises
    ------
    SpecError, StoreError, DataError, BackboneError : what cannot be done, before anything is spent.
    """
    opened = open_backfill(spec, cluster, progress)
    manifest = opened.manifest
    lacks = [Lack.of(target.features) for target in opened.targets]
    units = units_of(manifest, [target.features for target in opened.targets], opened.spans)
    missing = [unit for unit in units if any(lack.shards(unit) for lack in lacks)]
    if missing:
        opened.dataset.source.check()
        refuse_what_does_not_fit(spec, cluster, opened, lacks, missing)
    order = missing[::-1] if spec.newest_first else missing
    images = [rows_missing(unit, lacks, manifest.removed) for unit in order]
    now = _until(images, spec.max_images)
    paces = [pace_of(target, cluster, spec.engine) for target in opened.targets] if missing else []
    slices = [
        _slice(number, units, lacks, manifest, paces)
        for number, units in enumerate(_cut(order[:now], images[:now], spec.slice_images), 1)
    ]
    return BackfillPlan(
        store=opened.store.root.uri,
        dataset=opened.dataset.name,
        recipes={target.features.recipe.digest(): target.said for target in opened.targets},
        slices=tuple(slices),
        chosen=sum(rows_missing(unit, _everything(opened), manifest.removed) for unit in units),
        later=sum(images[now:]),
    )


def _everything(opened: OpenBackfill) -> list[Lack]:
    return [replace(Lack.of(opened.targets[0].features), done=frozenset())]


def _until(images: Sequence[int], most: int | None) -> int:
    """How many units until there are so many images, the last one whole."""
    if most is None:
        return len(images)
    before = np.concatenate([[0], np.cumsum(images)])[:-1] if images else np.empty(0, np.int64)
    return int(np.count_nonzero(before < most))


def _cut(units: Sequence[Shard], images: Sequence[int], most: int) -> Iterator[list[Shard]]:
    """Units of work in order, in slices that end where they have so many images."""
    some: list[Shard] = []
    count = 0
    for unit, of_unit in zip(units, images, strict=True):
        some.append(unit)
        count += of_unit
        if count >= most:
            yield some
            some, count = [], 0
    if some:
        yield some


def _slice(
    number: int, units: Sequence[Shard], lacks: Sequence[Lack], manifest: Manifest, paces: Sequence[Pace | None]
) -> Slice:
    removed = manifest.removed
    in_order = sorted(units)
    to_do = {lack.features.recipe.digest(): sum(rows_missing(unit, [lack], removed) for unit in units) for lack in lacks}
    rows = np.concatenate([np.arange(unit.start, unit.stop) for unit in in_order])
    rows = rows[~np.isin(rows, removed)]
    known = [pace.seconds(count) for pace, count in zip(paces, to_do.values(), strict=True) if pace is not None]
    return Slice(
        number=number,
        first=in_order[0].start,
        stop=in_order[-1].stop,
        images=sum(rows_missing(unit, lacks, removed) for unit in units),
        to_do=to_do,
        bytes=int(np.sum(manifest.take(rows, ("size",))["size"].to_numpy())) if len(rows) else 0,
        seconds=sum(known) if len(known) == len(paces) else None,
    )
