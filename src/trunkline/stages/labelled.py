"""Which rows heads are fitted and measured on: labelled live rows of both splits, and what their labels mean."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trunkline.heads.targets import Target, Truth, target_of, truth_of
from trunkline.moments import rows_key
from trunkline.reader import Features
from trunkline.specs import TargetSpec, digest_of

NAMED = 5  # in a sentence


@dataclass(frozen=True)
class Labelled:
    """Rows of both splits, ascending, and their truth.

    Test rows are those that can be measured: `left_out` have the bytes of a training image; `strangers` have labels that no
    training image has, by label. `unlabelled` training rows teach nothing; `sha256` is of the bytes of all rows.
    """

    target: Target
    training: NDArray[np.int64]
    training_truth: Truth
    test: NDArray[np.int64]
    test_truth: Truth
    left_out: int
    strangers: Mapping[str, int]
    unlabelled: int
    sha256: str

    def key(self) -> str:
        """Digest of everything here."""
        arrays = (self.training, self.test, self.training_truth, self.test_truth)
        keys = [rows_key(self.training), rows_key(self.test)]
        keys += [hashlib.sha256(np.ascontiguousarray(truth).tobytes()).hexdigest() for truth in arrays[2:]]
        return digest_of([self.target.kind, self.target.names, self.sha256, *keys])


def labelled(features: Features, spec: TargetSpec) -> Labelled:
    """Raises DataError for labels that are no numbers where numbers are asked for."""
    codes, names = features.snapshot.codes("label")
    everything = _rows(features, "train")
    training = everything[codes[everything] >= 0]
    used = np.unique(codes[training])
    target = target_of(spec, [names[code] for code in used])
    training_truth, _ = truth_of(target, spec, codes[training], names)
    test = _rows(features, "test")
    test = test[codes[test] >= 0]
    test_truth, known = truth_of(target, spec, codes[test], names)
    strangers = Counter(names[code] for code in codes[test[~known]].tolist())
    digests = _sha256(features, training), _sha256(features, test[known])
    seen = pc.is_in(digests[1], value_set=pc.unique(digests[0])).to_numpy(zero_copy_only=False).astype(bool)
    fresh = np.flatnonzero(known)[~seen]
    content = hashlib.sha256()
    for digest in digests:
        for chunk in digest.chunks:
            content.update(b"".join(buffer for buffer in chunk.buffers()[1:] if buffer))
    unlabelled = len(everything) - len(training)
    return Labelled(
        target,
        training,
        training_truth,
        test[fresh],
        test_truth[fresh],
        int(seen.sum()),
        strangers,
        unlabelled,
        content.hexdigest(),
    )


def why_no_head(data: Labelled) -> str:
    """What is missing to fit and measure a head; '' where nothing is."""
    kind, names = data.target.kind, data.target.names
    if kind == "regression" and len(np.unique(data.training_truth)) < 2:
        return f"A regression needs at least two different values, and {len(data.training):,} training images have one"
    if kind == "classes" and len(names) < 2:
        return f"A head needs at least two classes, and the training split has {len(names)} ({', '.join(names)})"
    if kind == "multilabel" and not names:
        return "A head needs at least one label, and no training image has one"
    if not len(data.test):
        gone = f"{data.left_out} test images equal training images byte for byte, {sum(data.strangers.values())} are of unknown classes"
        return f"No test image is left to measure heads on ({gone})"
    return ""


def notes_of(data: Labelled) -> list[str]:
    """What a reader of the metrics must know."""
    notes = []
    if data.unlabelled:
        notes.append(f"{data.unlabelled:,} training images have no label; no head learned from them.")
    if data.left_out:
        notes.append(f"{data.left_out} test images have the same bytes as a training image; they are left out of the metrics.")
    if data.strangers:
        notes.append(
            f"{sum(data.strangers.values())} test images are of classes without a training image ({_some(sorted(data.strangers))}), which "
            "no head can know; they are left out of the metrics."
        )
    if data.target.kind == "classes":
        single = np.flatnonzero(np.bincount(data.training_truth, minlength=data.target.outputs) == 1)
        if len(single):
            names = _some([data.target.names[code] for code in single])
            notes.append(
                f"{len(single)} classes have a single training image ({names}): heads learn little of them, and no fold tests them."
            )
    return notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _rows(features: Features, split: str) -> NDArray[np.int64]:
    if split not in features.snapshot.codes("split")[1]:
        return np.empty(0, np.int64)
    return features.rows(split)


def _sha256(features: Features, rows: NDArray[np.int64]) -> pa.ChunkedArray:
    column = features.snapshot.table(rows, ("sha256",))["sha256"]
    return pa.chunked_array([column.combine_chunks()]) if column.num_chunks != 1 else column
