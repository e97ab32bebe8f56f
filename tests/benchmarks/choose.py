"""Do the scores of `trunkline choose` rank cuts as the full data does? Kendall's tau, and the table behind it.

    python -m tests.benchmarks.choose cifar10-sample --backbones efficientnet-lite0,efficientnet-lite1
    python -m tests.benchmarks.choose fruits360 --backbones efficientnet-lite0@16 --a-class 3 --draws 20

Every cut is scored on the sample that `choose` would draw from the training images. The truth is softmax, fitted on all training images
and measured on the test split: macro-F1. With `--a-class`, so many images of a class are all the training images there are, for data that
is too easy otherwise; scores and truth are then means over several draws of them. NCE and LEEP know networks, not cuts, and are listed
beside each network's best cut.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
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
from trunkline.probing.logme import logme
from trunkline.probing.measuring import PIECE
from trunkline.probing.probe import linear_probe
from trunkline.probing.sample import SAMPLE, draw
from trunkline.probing.scoring import Truth, score_network
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
class Draw:
    """Places of the images that train, and of those that are scored."""

    train: NDArray[np.int64]
    sampled: NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Training and test images of a source with their labels; places of those that test; and draws of training images."""

    images: Sequence[Listed]
    labels: NDArray[np.int64]
    test: NDArray[np.int64]
    draws: Sequence[Draw]
    classes: int


def split_of(spec: RunSpec, sample: int, a_class: int | None, draws: int) -> Split:
    """As `choose` and a run see them; with `a_class` so many training images of a class, drawn anew for each draw, are the sample too."""
    source = source_of(spec)
    drawn = draw(source, spec, sample)
    layout = source.layout_of({each.id.split("/", 1)[0] for each in source.listing()}, "folders")
    images = [each for each in source.listing() if layout.label(each.id) in drawn.classes]
    names = {name: number for number, name in enumerate(drawn.classes)}
    labels = np.array([names[str(layout.label(each.id))] for each in images])
    splits = np.array([layout.split(each.id, spec.split) for each in images])
    train = np.flatnonzero(splits == "train")
    chosen = {each.id for each in drawn.images}
    made = [Draw(train, np.array([place for place in train if images[place].id in chosen]))]
    if a_class is not None:
        some = [_few(labels, train, a_class, np.random.default_rng(number)) for number in range(draws)]
        made = [Draw(each, each) for each in some]
    return Split(images, labels, np.flatnonzero(splits == "test"), made, len(drawn.classes))


def _few(labels: NDArray[np.int64], train: NDArray[np.int64], a_class: int, random: np.random.Generator) -> NDArray[np.int64]:
    order = random.permutation(train)
    return np.sort(np.concatenate([order[labels[order] == label][:a_class] for label in np.unique(labels)]))


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
            for layer in where.layers:
                scored = [scored_once(vectors[layer], split, draw, where.entry.name, layer) for draw in split.draws]
                rows.append(mean_of(scored))
                say(rows[-1])
            first = split.draws[0].sampled
            some = {layer: values[first] for layer, values in vectors.items()}
            if network := score_network(where, some, Truth(split.labels[first], split.classes, spec.seed)):
                own.append(asdict(network))
    return rows, own


def scored_once(features: NDArray[np.float32], split: Split, draw: Draw, entry: str, layer: str) -> Row:
    some, labels = features[draw.sampled], split.labels[draw.sampled]
    probe = linear_probe(some, labels, split.classes)
    return Row(
        entry=entry,
        layer=layer,
        width=features.shape[1],
        probe=probe.f1,
        spread=probe.spread,
        logme=logme(some, labels, split.classes),
        h_score=h_score(some, labels, split.classes),
        plain_h=h_score(some, labels, split.classes, shrinkage=0.0),
        test=full_f1(features, split, draw.train),
    )


def mean_of(rows: Sequence[Row]) -> Row:
    """Of one cut over several draws."""
    names = ("probe", "spread", "logme", "h_score", "plain_h", "test")
    return replace(rows[0], **{name: float(np.mean([getattr(row, name) for row in rows])) for name in names})


def full_f1(features: NDArray[np.float32], split: Split, train: NDArray[np.int64]) -> float:
    """Macro-F1 on the test split of softmax on these training images, C chosen by cross-validation, as a run fits it."""
    target = Target("classes", tuple(map(str, range(split.classes))))
    truth = split.labels[train]
    data = TrainingData.in_memory(features[train], target, truth, folds_of(target, truth, 3, 0))
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


def said_of(split: Split) -> str:
    first = split.draws[0]
    drawn = f", {len(split.draws)} draws" if len(split.draws) > 1 else ""
    return (
        f"{len(first.train):,} training images, {len(first.sampled):,} of them scored{drawn}; {len(split.test):,} test images"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--backbones", default="efficientnet-lite0")
    parser.add_argument("--sample", type=int, default=SAMPLE)
    parser.add_argument("--a-class", type=int, default=None)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--layer", action="append", default=[], help="only these, of every network")
    parser.add_argument("--cluster", default="inline")
    parser.add_argument("--json", type=Path, default=None)
    asked = parser.parse_args(arguments)
    started = time.monotonic()
    said = {"source": asked.source, "store": "features/", "layers": asked.layer, "cluster": {"kind": asked.cluster}}
    spec = RunSpec.model_validate(said)
    split = split_of(spec, asked.sample, asked.a_class, asked.draws)
    rows, own = measured(spec, asked.backbones, split)
    out = sys.stdout.write
    out(f"{in_words(machine())}\n{said_of(split)}\n\n")
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
