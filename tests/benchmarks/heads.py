"""Heads: softmax beside scikit-learn's in memory, and every head on features that do not fit into memory, on Dask workers.

    python -m tests.benchmarks.heads --rows 50000 --repeats 3
    python -m tests.benchmarks.heads --streamed 1000000 --head softmax --head ridge

The first prints seconds, loss and ratio, in turns in one process. The second makes a Zarr store of features in ten overlapping classes,
fits each head on two workers, and prints seconds, passes over the data, and the most private memory (USS) that the driver and the
largest worker had.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from tests.benchmarks.machine import in_words, machine
from tests.reading.made import Made
from trunkline.clusters import Cluster
from trunkline.fan_out import SerialExecutor
from trunkline.heads.catalogue import fit_head
from trunkline.heads.folds import folds_of
from trunkline.heads.linear import fit_linear
from trunkline.heads.protocol import Work
from trunkline.heads.targets import Target
from trunkline.heads.training import TrainingData
from trunkline.metrics import measure
from trunkline.reading.feature_reader import FeatureReader
from trunkline.shards import plan
from trunkline.specs import HEAD_SPECS, ClusterSpec, HeadBase, SoftmaxSpec

CLASSES, HIDDEN, DIM = 10, 60, 1280
MIB = 2**20
TARGET = Target("classes", tuple(map(str, range(CLASSES))))
SINGLE = {  # one candidate each: a fit, not a sweep
    "softmax": {"C": 0.001},
    "svm": {"C": 0.0001},
    "ridge": {"alpha": 1000.0},
    "knn": {"k": 15},
    "forest": {"trees": 100},
    "mlp": {"epochs": 3},
}


def features_of(rows: NDArray[np.int64], dim: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Of consecutive rows: correlated features, half of them cut off at zero, and noisy classes; the same for the same rows."""
    fixed, own = np.random.default_rng(0), np.random.default_rng(int(rows[0]) + 1)
    basis, ways = fixed.standard_normal((HIDDEN, dim), np.float32), fixed.standard_normal((HIDDEN, CLASSES), np.float32)
    hidden = own.standard_normal((len(rows), HIDDEN), np.float32)
    x = np.maximum(0.3 * hidden @ basis + 0.8 * own.standard_normal((len(rows), dim), np.float32), 0)
    return x, (0.5 * hidden @ ways + own.gumbel(size=(len(rows), CLASSES))).argmax(axis=1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = _options(arguments)
    if options.streamed:
        with tempfile.TemporaryDirectory(prefix="heads-", dir=options.work) as folder:
            streamed(Path(folder), options.streamed, options.dim, options.head, options.workers)
    else:
        beside_scikit_learn(options.rows, options.dim, options.repeats)
    _say(in_words(machine()))
    return 0


def beside_scikit_learn(rows: int, dim: int, repeats: int) -> list[float]:
    """Softmax regression of the same objective on the same standardised rows, in turns; the ratios of seconds."""
    from sklearn.linear_model import LogisticRegression

    x, codes = features_of(np.arange(rows), dim)
    data = TrainingData.in_memory(x, TARGET, codes)
    ratios = []
    for repeat in range(repeats):
        seconds = {}
        for who in ("ours", "scikit-learn")[:: 1 if repeat % 2 else -1]:
            started = time.perf_counter()
            if who == "ours":
                head = fit_linear(SoftmaxSpec(C=0.01), data, Work(SerialExecutor()))
            else:
                standard = data.standardised().standard
                assert standard is not None
                model = LogisticRegression(C=0.01, max_iter=1000).fit(standard(x), codes)
            seconds[who] = time.perf_counter() - started
            data.release()
        ratios.append(seconds["ours"] / seconds["scikit-learn"])
        _say(f"  ours {seconds['ours']:.2f} s, scikit-learn {seconds['scikit-learn']:.2f} s, ratio {ratios[-1]:.2f}")
    z = head.standard(x)
    ours, theirs = (
        _objective(z, codes, w, b) for w, b in ((head.weights[:-1], head.weights[-1]), (model.coef_.T, model.intercept_))
    )
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    _say(f"{rows:,} x {dim:,}: ratio {statistics.median(ratios):.2f} ({spread}), loss / theirs − 1 = {ours / theirs - 1:.1e}")
    return ratios


def _objective(
    x: NDArray[np.float32], codes: NDArray[np.int64], weights: NDArray[np.float64], intercepts: NDArray[np.float64]
) -> float:
    scores = (x @ weights.astype(np.float32)).astype(np.float64) + intercepts
    highest = scores.max(axis=1, keepdims=True)
    logs = np.log(np.exp(scores - highest).sum(axis=1)) + highest[:, 0] - scores[np.arange(len(x)), codes]
    return float(0.01 * logs.sum() + 0.5 * np.square(weights).sum())


@dataclass(frozen=True)
class Classes(Made):
    """A store of such features."""

    def values(self, rows: NDArray[np.int64], layer: str = "pool") -> NDArray[np.float32]:
        """(n, dim)."""
        return features_of(rows, self.dims[layer])[0]


def streamed(folder: Path, rows: int, dim: int, kinds: Sequence[str], workers: int) -> None:
    """Fit heads on rows of a store, on workers; a further thousand rows tell how good they are."""
    store = Classes(folder / "store", {"pool": dim}, 1024, name="classes")
    spans = [(0, rows + 1024)]
    store.feature_set.arrays.grow(rows + 1024)
    codes = []
    for shard in plan(spans, 1024):
        x, truth = features_of(np.arange(shard.start, shard.stop), dim)
        store.feature_set.arrays.write(shard, {"pool": x})
        codes.append(truth)
    truth = np.concatenate(codes)
    reader = FeatureReader(store.feature_set.location, store.feature_set.layout, "pool")
    _say(f"{rows:,} x {dim:,} float32, {rows * dim * 4 / 1e9:.1f} GB, {workers} workers")
    with Cluster(ClusterSpec(kind="local", workers=workers)) as cluster:
        folds = folds_of(TARGET, truth[:rows], 3, 0)
        data = CountedPasses(reader, None, dim, np.arange(rows), TARGET, truth[:rows], folds, cluster.executor)
        outside = np.arange(rows, rows + 1024)
        for kind in kinds:
            spec = _spec(kind)
            CountedPasses.passes = 0
            with watched() as most:
                started = time.perf_counter()
                head = fit_head(spec, data, Work(cluster.executor))
                seconds = time.perf_counter() - started
            data.release()
            found = measure("classes", truth[outside], head.outputs(reader.read(outside)), CLASSES)
            _say(
                f"  {kind:<9}{seconds:7.1f} s, {CountedPasses.passes:3d} passes, driver {most['driver'] / MIB:5.0f} MiB, largest worker "
                f"{most['worker'] / MIB:5.0f} MiB private, macro-F1 {found.headline[1]:.3f} {'; '.join(head.notes)}"
            )


class CountedPasses(TrainingData):
    """Counts passes, those over some of the rows too."""

    passes = 0

    def reduce(self, function, state=None):
        """One more."""
        CountedPasses.passes += 1
        return super().reduce(function, state)


@contextmanager
def watched() -> Iterator[dict[str, int]]:
    """The most private bytes (USS) of this process and of the largest of its children, looked at twice a second."""
    most, over = {"driver": 0, "worker": 0}, threading.Event()
    me = psutil.Process()

    def look() -> None:
        while not over.wait(0.5):
            most["driver"] = max(most["driver"], me.memory_full_info().uss)
            for child in me.children(recursive=True):
                try:
                    most["worker"] = max(most["worker"], child.memory_full_info().uss)
                except psutil.Error:
                    continue

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def _spec(kind: str) -> HeadBase:
    (cls,) = (each for each in HEAD_SPECS if each.model_fields["kind"].default == kind)
    return cls(**SINGLE.get(kind, {}))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.heads", description="Heads beside scikit-learn, and streamed."
    )
    parser.add_argument("--rows", type=int, default=50_000, help="images, beside scikit-learn (default: 50000)")
    parser.add_argument("--dim", type=int, default=DIM, help=f"features of an image (default: {DIM})")
    parser.add_argument("--repeats", type=int, default=3, help="in turns (default: 3)")
    parser.add_argument("--streamed", type=int, metavar="ROWS", help="fit heads on so many rows of a store instead")
    kinds = [each.model_fields["kind"].default for each in HEAD_SPECS]
    parser.add_argument(
        "--head", action="append", choices=kinds, help="streamed; again for more (default: softmax, svm, ridge, centroid)"
    )
    parser.add_argument("--workers", type=int, default=2, help="streamed (default: 2)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where the store lies meanwhile; the system's by default")
    options = parser.parse_args(arguments)
    options.head = options.head or ["softmax", "svm", "ridge", "centroid"]
    return options


if __name__ == "__main__":
    sys.exit(main())
