"""Exact neighbours in a large store: seconds and memory of `open_features(URI).nearest`.

    nice -n 19 python -m tests.benchmarks.nearest --rows 1000000 --dim 1280 --queries 1 64

The features are random, half of them zero. Each number of queries is searched in a process of its own, once to fill the system's cache
where the features fit, then `--repeats` times; processor time of a search and peak memory are that process's, with its libraries.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.benchmarks.machine import in_words, machine
from tests.benchmarks.reading import Random
from tests.reading.made import ids
from trunkline import open_features
from trunkline.accounting import refuse_strange


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the store, search, print."""
    options = _options(arguments)
    if options.store:
        _search(options.store, options.queries[0], options.metric, options.repeats)
        return 0
    with tempfile.TemporaryDirectory(prefix="nearest-", dir=options.work) as folder:
        store = Random(Path(folder) / "store", {"pool": options.dim}, 1024, name="random")
        store.scan(ids("class", options.rows))
        store.extract()
        store.feature_set.commits.seal(lambda commit, images=store.dataset.manifest: refuse_strange(commit, images))
        _say(f"{options.rows:,} x {options.dim:,} float32")
        for queries in options.queries:
            command = [sys.executable, "-m", "tests.benchmarks.nearest", "--store", store.uri, "--queries", str(queries)]
            subprocess.run([*command, "--metric", options.metric, "--repeats", str(options.repeats)], check=True)
    _say(in_words(machine()))
    return 0


def _search(store: str, queries: int, metric: str, repeats: int) -> None:
    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        features = open_features(store)
        vectors = features.read(np.linspace(0, len(features.rows()) - 1, queries).astype(np.int64))
        features.nearest(vectors, 20, metric=metric)
        seconds.append(time.perf_counter() - started)
        del features
    spread = f"{statistics.median(seconds[1:]):.1f} ({min(seconds[1:]):.1f} to {max(seconds[1:]):.1f}) s, the first {seconds[0]:.1f} s"
    used = resource.getrusage(resource.RUSAGE_SELF)
    worked = (used.ru_utime + used.ru_stime) / (repeats + 1)
    _say(
        f"  {queries} queries, 20 nearest, {metric}: {spread}, {worked:.1f} s of processor time, peak memory "
        f"{used.ru_maxrss / 2**10:,.0f} MiB"
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.nearest", description="Exact neighbours in a large store."
    )
    parser.add_argument("--rows", type=int, default=100_000, help="images (default: 100000)")
    parser.add_argument("--dim", type=int, default=1280, help="features of an image (default: 1280)")
    parser.add_argument(
        "--queries", type=int, nargs="+", default=[1, 64], help="vectors that are searched at once (default: 1 64)"
    )
    parser.add_argument("--metric", choices=("cosine", "euclidean"), default="cosine")
    parser.add_argument("--repeats", type=int, default=3, help="after one that does not count (default: 3)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where the store lies meanwhile; the system's by default")
    parser.add_argument("--store", help="search in this feature set, which is there already")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
