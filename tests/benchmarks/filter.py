"""The variance filter over stored moments, beside scikit-learn's VarianceThreshold over features in memory.

    python -m tests.benchmarks.filter --rows 1000000 --dim 1280 --repeats 5

The store holds a manifest, splits, commit records and moments, and no features: the filter reads none. Every third image is for testing.
Prints seconds of a fit and of its parts, each time with everything opened anew; then scikit-learn's on as many random training rows as
`--theirs` says, loading not counted, and the ratio, by rows where theirs are fewer.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from tests.benchmarks.machine import in_words, machine
from tests.manifests import appended
from tests.reading.made import COMMITTED, Made
from trunkline import moments
from trunkline.blocks import FeatureBlock, RowRecord, Status, Timings, rows_digest
from trunkline.locations import Location
from trunkline.moments import Moments
from trunkline.progress import silent
from trunkline.reader import Features
from trunkline.shards import Shard
from trunkline.sources import Listed
from trunkline.specs import SelectSpec
from trunkline.stages.batch_moments import batch_moments, merged, training_rows
from trunkline.stages.select import select_from
from trunkline.store.commits import Commit

KINDS = 8  # of shards: so many have moments of their own, the others repeat them
TIMINGS = Timings(0.1, 0.1, 0.1, 0.1, COMMITTED - 1, COMMITTED)


@dataclass(frozen=True)
class Unfeatured(Made):
    """A store with everything but the features."""

    def fill(self, rows: int) -> None:
        """So many images in one batch, committed and sealed, with moments."""
        numbers = np.arange(rows)
        appended(self.dataset.manifest, (Listed(f"class/{number:08d}.jpg", 1, "1") for number in range(rows)))
        splits = pa.array(["train", "test"]).take(pa.array((numbers % 3 == 2).astype(np.int8)))
        self.dataset.splits.append(numbers, splits)
        self.extract()
        self.feature_set.commits.seal(lambda _: None)

    @cached_property
    def kinds(self) -> list[dict[str, Moments]]:
        return [{layer: Moments.of(block(700, dim, seed)) for layer, dim in self.dims.items()} for seed in range(KINDS)]

    def _commit(self, shard: Shard, _: Container[int]) -> None:
        images = self.dataset.manifest.read(shard)
        records = [RowRecord(row["row"], row["id"], row["version"], Status.OK, sha256="0" * 64) for row in images.to_pylist()]
        rows = np.arange(shard.start, shard.stop)
        place = moments.place(self.feature_set.moments, shard.name, rows[rows % 3 != 2])
        moments.save(place, self.kinds[shard.start // self.rows_per_shard % KINDS])
        recipe, digest = self.feature_set.recipe.digest(), rows_digest(images)
        made = FeatureBlock(shard, {}, records, TIMINGS)
        self.feature_set.commits.create(
            Commit.of(made, recipe=recipe, rows_digest=digest, lease=1, environment={}, timings=TIMINGS)
        )


def block(rows: int, dim: int, seed: int) -> np.ndarray:
    """Random features, half of them zero as after a ReLU."""
    return np.maximum(np.random.default_rng(seed).standard_normal((rows, dim), np.float32), 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the store, measure, print."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="filter-", dir=options.work) as folder:
        store = Unfeatured(Path(folder) / "store", {"pool": options.dim}, options.rows_per_shard, name="random")
        store.fill(options.rows)
        _say(f"{options.rows:,} x {options.dim:,}, {len(store.feature_set.commits.done()):,} shards")
        ours = {name: _seconds(way, options.repeats) for name, way in _ways(store, Location.of(folder)).items()}
    for name, each in ours.items():
        _say(f"  {name:<52}{_spread(each)} s")
    _beside_theirs(statistics.median(next(iter(ours.values()))), options)
    _say(in_words(machine()))
    return 0


def _ways(store: Unfeatured, masks: Location) -> dict[str, Callable[[], object]]:
    rule = SelectSpec()

    def opened() -> Features:
        return Features(store.feature_set)

    def loaded() -> object:
        features = opened()
        return merged(list(batch_moments(features, training_rows(features), 0, silent)))

    return {
        "select --refit": lambda: select_from(opened(), masks, rule, 0.5, refit=True),
        "select, pinned, with drift": lambda: select_from(opened(), masks, rule, 0.5),
        "  of it: opening, statuses and splits": lambda: training_rows(opened()),
        "  of it: that, and loading and merging moments": loaded,
    }


def _beside_theirs(ours: float, options: argparse.Namespace) -> None:
    from sklearn.feature_selection import VarianceThreshold

    training = options.rows - options.rows // 3
    rows = min(training, options.theirs)
    features = block(rows, options.dim, 0)
    theirs = statistics.median(_seconds(lambda: VarianceThreshold().fit(features), options.repeats))
    _say(f"  scikit-learn's VarianceThreshold on {rows:,} rows in memory: {theirs:.2f} s")
    how = "" if rows == training else f", theirs taken {training / rows:.1f} times for {training:,} rows"
    _say(f"  select --refit takes {ours / (theirs * training / rows):.3f} of scikit-learn's time{how}")


def _seconds(way: Callable[[], object], repeats: int) -> list[float]:
    """Of each repeat, after one that does not count."""
    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        way()
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):6.2f} ({min(values):.2f} to {max(values):.2f})"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.filter", description="The variance filter over moments.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="images (default: 1000000)")
    parser.add_argument("--dim", type=int, default=1280, help="features of an image (default: 1280)")
    parser.add_argument("--rows-per-shard", type=int, default=1024, help="a power of two up to 1024 (default: 1024)")
    parser.add_argument("--repeats", type=int, default=5, help="of each measurement (default: 5)")
    parser.add_argument("--theirs", type=int, default=200_000, help="rows that scikit-learn gets (default: 200000)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where the store lies meanwhile; the system's by default")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
