"""Reading features into NumPy: `open_features` beside plain zarr on the same arrays, in turns in one process.

    python -m tests.benchmarks.reading --rows 100000 --dim 1280 --repeats 7

Prints seconds and their ratio to plain zarr's of the same repeat: median (smallest to largest); and the ratio of the fastest repeats, which
says most on a machine that others use too. Each way opens everything anew each time.
The features are random, half of them zero, and records are sealed, as a run leaves them. Of the second store one image in a hundred is
quarantined, which plain zarr reads as NaN.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from tests.benchmarks.machine import in_words, machine
from tests.reading.made import Made, ids
from trunkline import open_features
from trunkline.accounting import refuse_strange

PLAIN, OURS = "plain zarr", "open_features(URI).numpy()"


@dataclass(frozen=True)
class Random(Made):
    """A store of random features, half of them zero as after a ReLU; the same for the same rows."""

    def values(self, rows: NDArray[np.int64], layer: str = "pool") -> NDArray[np.float32]:
        drawn = np.random.default_rng(int(rows[0])).standard_normal((len(rows), self.dims[layer]), np.float32)
        return np.maximum(drawn, 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the stores, measure, print."""
    options = _options(arguments)
    for bad in (set[int](), set(range(50, options.rows, 100))):
        with tempfile.TemporaryDirectory(prefix="reading-", dir=options.work) as folder:
            store = Random(Path(folder) / "store", {"pool": options.dim}, options.rows_per_shard, name="random")
            store.scan(ids("class", options.rows))
            store.extract(bad=bad)
            store.feature_set.commits.seal(lambda commit, images=store.dataset.manifest: refuse_strange(commit, images))
            _say(f"{options.rows:,} x {options.dim:,} float32, {len(bad):,} images quarantined")
            _show(measured(_ways(store), options.repeats))
    _say(in_words(machine()))
    return 0


def measured(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each way and repeat; in turns, every other repeat in the opposite order, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name in list(ways)[:: 1 if repeat % 2 else -1]:
            gc.collect()
            started = time.perf_counter()
            result = ways[name]()
            seconds[name].append(time.perf_counter() - started)
            del result
    return {name: each[1:] for name, each in seconds.items()}


def _ways(store: Made) -> dict[str, Callable[[], object]]:
    half = np.arange(store.dims["pool"]) % 2 == 0
    return {
        PLAIN: lambda: zarr.open_array(f"{store.uri}/features.zarr/pool", mode="r")[:],
        OURS: lambda: open_features(store.uri).numpy(),
        "  of it: opening, rows, labels": lambda: open_features(store.uri).view().labels(),
        '.numpy("train")': lambda: open_features(store.uri).numpy("train"),
        ".numpy(columns=every other)": lambda: open_features(store.uri).numpy(columns=half),
        ".batches(1024)": lambda: sum(1 for _ in open_features(store.uri).batches(1024)),
    }


def _show(seconds: dict[str, list[float]]) -> None:
    for name, each in seconds.items():
        ratios = [one / plain for one, plain in zip(each, seconds[PLAIN], strict=True)]
        fastest = min(each) / min(seconds[PLAIN])
        _say(f"  {name:<32}{_spread(each)} s   x {_spread(ratios)}, of the fastest x {fastest:.2f}")


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):5.2f} ({min(values):.2f} to {max(values):.2f})"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.reading", description="Reading into NumPy, beside plain zarr."
    )
    parser.add_argument("--rows", type=int, default=100_000, help="images (default: 100000)")
    parser.add_argument("--dim", type=int, default=1280, help="features of an image (default: 1280)")
    parser.add_argument("--rows-per-shard", type=int, default=1024, help="a power of two up to 1024 (default: 1024)")
    parser.add_argument("--repeats", type=int, default=7, help="of every way, in turns (default: 7)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where the store lies meanwhile; the system's by default")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
