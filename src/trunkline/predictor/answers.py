"""What a head answers, as a table: the class and its probability, the labels, or the value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trunkline.heads.targets import Target

Outputs = NDArray[np.float64]
LIKELY = 0.5  # from which probability on a label is given to an image


def fields_of(target: Target) -> list[pa.Field]:
    """The columns that an answer has.

    `predicted` (string), `probability` (float32) and `probabilities` (k float32, in the order of the target's names) of classes;
    `labels` (list of strings) and `probabilities` of several labels; `value` (float64) of a regression.
    """
    probabilities = pa.field("probabilities", pa.list_(pa.float32(), target.outputs))
    match target.kind:
        case "classes":
            return [pa.field("predicted", pa.string()), pa.field("probability", pa.float32()), probabilities]
        case "multilabel":
            return [pa.field("labels", pa.list_(pa.string())), probabilities]
        case "regression":
            return [pa.field("value", pa.float64())]


def columns_of(target: Target, outputs: Outputs) -> list[pa.Array]:
    """(n, k) outputs as the columns of `fields_of`."""
    if target.kind == "regression":
        return [pa.array(outputs[:, 0], pa.float64())]
    flat = pa.array(np.ascontiguousarray(outputs, np.float32).reshape(-1))
    probabilities = pa.FixedSizeListArray.from_arrays(flat, target.outputs)
    names = pa.array(target.names, pa.string())
    if target.kind == "multilabel":
        likely = outputs >= LIKELY
        edges = np.concatenate([[0], np.cumsum(likely.sum(axis=1))]).astype(np.int32)
        return [pa.ListArray.from_arrays(edges, names.take(pa.array(np.nonzero(likely)[1]))), probabilities]
    places = outputs.argmax(axis=1)
    return [names.take(pa.array(places)), pa.array(outputs.max(axis=1).astype(np.float32)), probabilities]


def counts_of(target: Target, outputs: Outputs) -> NDArray[np.int64]:
    """(k,): rows that a class or label was given to; of a regression (1,): all rows."""
    if target.kind == "classes":
        return np.bincount(outputs.argmax(axis=1), minlength=target.outputs).astype(np.int64)
    if target.kind == "multilabel":
        return np.asarray((outputs >= LIKELY).sum(axis=0), np.int64)
    return np.array([len(outputs)], np.int64)


def in_words(target: Target, row: Sequence[float]) -> str:
    """One answer for people."""
    if target.kind == "regression":
        return f"{row[0]:.6g}"
    if target.kind == "multilabel":
        return ", ".join(name for name, share in zip(target.names, row, strict=True) if share >= LIKELY) or "none"
    best = int(np.argmax(row))
    return f"{target.names[best]} ({row[best]:.3f})"
