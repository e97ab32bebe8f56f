"""Do the scores of `trunkline choose` rank cuts as the full data does? Kendall's tau, and the table behind it.

    python -m tests.benchmarks.choose cifar10-sample --backbones efficientnet-lite0,efficientnet-lite1
    python -m tests.benchmarks.choose fruits360 --backbones efficientnet-lite0@32 --a-class 20

Every cut is scored on the sample that `choose` would draw from the training images. The truth is softmax, fitted on all training images
and measured on the test split: macro-F1. With `--a-class`, so many images of a class are all the training images there are, for data that
is too easy otherwise. NCE and LEEP know networks, not cuts, and are compared with each network's best cut.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from tests.benchmarks.machine import in_words, machine
from trunkline.clusters import Cluster
from trunkline.fan_out import SerialExecutor
from trunkline.heads.folds import folds_of
from trunkline.heads.linear import fit_linear
from trunkline.heads.protocol import Work
from trunkline.heads.scoring import counted, score_of
from trunkline.heads.targets import Target
from trunkline.heads.training import TrainingData
from trunkline.locations import Location
from trunkline.probing.entries import entries_of
from trunkline.probing.gathering import gather
from trunkline.probing.h_score import h_score
from trunkline.probing.measuring import PIECE
from trunkline.probing.sample import SAMPLE, draw
from trunkline.probing.scoring import Pace, Truth, score_cuts, score_network
from trunkline.progress import Step, silent
from trunkline.sources import Listed, source_of
from trunkline.specs import RunSpec, SoftmaxSpec
from trunkline.stages.choose import job_for, prepared_networks

SCORES = ("probe", "logme", "h_score", "plain_h")


@dataclass(frozen=True)
class Row:
    """One cut: what was scored on the sample, and what came true."""

    entry: str
    layer: str
    width: int
    probe: float
    spread: float
    logme: float
    h_score: float
    plain_h: float
    test: float


@dataclass(frozen=True)
class Split:
    """All images of a source with their labels, and which of them train, test, and are in the sample."""

    images: Sequence[Listed]
    labels: NDArray[np.int64]
    train: NDArray[np.bool_]
    test: NDArray[np.bool_]
    sampled: NDArray[np.bool_]
    classes: int


def split_of(spec: RunSpec, sample: int, a_class: int | None) -> Split:
    """As `choose` and a run see them; with `a_class` the training images are cut down first, and all of them are the sample."""
    source = source_of(spec)
    drawn = draw(source, spec, sample)
    layout = source.layout_of({each.id.split("/", 1)[0] for each in source.listing()}, "folders")
    images = [each for each in source.listing() if layout.label(each.id) in drawn.classes]
    names = {name: number for number, name in enumerate(drawn.classes)}
    labels = np.array([names[str(layout.label(each.id))] for each in images])
    train = np.array([layout.split(each.id, spec.split) == "train" for each in images])
    chosen = {each.id for each in drawn.images}
    sampled = np.array([each.id in chosen for each in images])
    if a_class is not None:
        left, keep = Counter[int](), np.zeros(len(images), bool)
        for place in np.random.default_rng(spec.seed).permutation(np.flatnonzero(train)):
            keep[place] = left[labels[place]] < a_class
            left[labels[place]] += 1
        train = sampled = keep
    test = np.array([layout.split(each.id, spec.split) == "test" for each in images])
    used = train | test
    pick = np.flatnonzero(used)
    return Split([images[n] for n in pick], labels[pick], train[pick], test[pick], sampled[pick], len(drawn.classes))


def measured(spec: RunSpec, backbones: str, split: Split) -> tuple[list[Row], list[dict[str, float | str]]]:
    """A row a cut, and what each network's own classes say."""
    rows: list[Row] = []
    own: list[dict[str, float | str]] = []
    with tempfile.TemporaryDirectory() as folder, Cluster(spec.cluster) as cluster:
        for entry in entries_of(backbones, spec):
            networks = prepared_networks([entry], spec, Location.of(folder), cluster, silent)
            ((where, prepared),) = networks
            job = job_for(spec, source_of(spec), [prepared], cluster)
            found = gather(job, split.images, cluster.executor, 0.0, told)
            vectors = found.vectors[0]
            some = {layer: values[split.sampled] for layer, values in vectors.items()}
            truth = Truth(split.labels[split.sampled], split.classes, spec.seed)
            pace = Pace(dict.fromkeys(some, 1.0), 0.0, 1, 1)
            for cut in score_cuts(where, prepared, some, truth, pace):
                plain = h_score(some[cut.layer], truth.labels, truth.classes, shrinkage=0.0)
                test = full_f1(vectors[cut.layer], split)
                rows.append(Row(cut.entry, cut.layer, cut.width, cut.f1, cut.spread, cut.logme, cut.h_score, plain, test))
                say(rows[-1])
            if network := score_network(where, some, truth):
                own.append(asdict(network))
    return rows, own


def full_f1(features: NDArray[np.float32], split: Split) -> float:
    """Macro-F1 on the test split of softmax on all training images, C chosen by cross-validation, as a run fits it."""
    target = Target("classes", tuple(map(str, range(split.classes))))
    truth = split.labels[split.train]
    data = TrainingData.in_memory(features[split.train], target, truth, folds_of(target, truth, 3, 0))
    head = fit_linear(SoftmaxSpec(), data, Work(SerialExecutor()))
    return score_of(target, counted(target, split.labels[split.test], head.outputs(features[split.test])))


def told(step: Step) -> None:
    if step.done % (10 * PIECE) == 0:
        sys.stderr.write(f"{step.done} of {step.total}\n")


def say(row: Row) -> None:
    sys.stderr.write(
        f"{row.entry} {row.layer} {row.width} probe {row.probe:.3f} logme {row.logme:.3f} h {row.h_score:.2f} test {row.test:.3f}\n"
    )


def tau(rows: Sequence[Row], score: str) -> float:
    """Kendall's tau-b between a score and the test macro-F1, over the rows."""
    return float(kendalltau([getattr(row, score) for row in rows], [row.test for row in rows]).statistic)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--backbones", default="efficientnet-lite0")
    parser.add_argument("--sample", type=int, default=SAMPLE)
    parser.add_argument("--a-class", type=int, default=None)
    parser.add_argument("--layer", action="append", default=[], help="only these, of every network")
    parser.add_argument("--cluster", default="inline")
    parser.add_argument("--json", type=Path, default=None)
    asked = parser.parse_args(arguments)
    started = time.monotonic()
    said = {"source": asked.source, "store": "features/", "layers": asked.layer, "cluster": {"kind": asked.cluster}}
    spec = RunSpec.model_validate(said)
    split = split_of(spec, asked.sample, asked.a_class)
    rows, own = measured(spec, asked.backbones, split)
    out = sys.stdout.write
    out(
        f"{in_words(machine())}\n{split.train.sum():,} training, {split.sampled.sum():,} sampled, {split.test.sum():,} test images\n\n"
    )
    out("| network | layer | width | probe | LogME | H-score | plain H | test macro-F1 |\n|---|---|--:|--:|--:|--:|--:|--:|\n")
    for row in rows:
        out(f"| {row.entry} | `{row.layer}` | {row.width:,} | {row.probe:.3f} ± {row.spread:.3f} | {row.logme:.3f} ")
        out(f"| {row.h_score:.2f} | {row.plain_h:.2f} | {row.test:.3f} |\n")
    out("\n| over | " + " | ".join(SCORES) + " |\n|---|" + "--:|" * len(SCORES) + "\n")
    for entry in [*dict.fromkeys(row.entry for row in rows), "all"]:
        some = [row for row in rows if entry in ("all", row.entry)]
        out(f"| {entry}, {len(some)} cuts | " + " | ".join(f"{tau(some, score):.2f}" for score in SCORES) + " |\n")
    for each in own:
        best = max(row.test for row in rows if row.entry == each["entry"])
        out(f"\n{each['entry']}: NCE {each['nce']:.3f}, LEEP {each['leep']:.3f}, entropy {each['entropy']:.2f}, ")
        out(f"of the mean {each['marginal']:.2f}; best test macro-F1 {best:.3f}")
    out(f"\n\n{time.monotonic() - started:.0f} s\n")
    if asked.json:
        asked.json.write_text(json.dumps({"rows": [asdict(row) for row in rows], "networks": own}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
