"""Receipts as the tables and texts of artifacts; nothing here knows a server."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trunkline.drift import BatchDrift
from trunkline.heads.artifact import HeadArtifact
from trunkline.maintenance.findings import Finding
from trunkline.maintenance.retry import Retried
from trunkline.metrics.classes import Metrics
from trunkline.report.data import Quarantined

MOST_CLASSES = 20  # whose confusion matrix people can read in the UI
WORST = 20
EXAMPLES = 3
LATEST = 20


def heads(fitted: Sequence[HeadArtifact]) -> list[dict[str, Any]]:
    """A head a row: the figure that heads are compared by, its 95 % interval, and what it was measured on."""
    return [_head(head) for head in fitted]


def confusion(head: HeadArtifact) -> str | None:
    """Markdown of a classifier's confusion matrix, or of its worst confusions where there are many classes; else None."""
    if not isinstance(head.metrics, Metrics):
        return None
    names, matrix = list(head.classes), head.metrics.confusion
    title = f"# Confusions of {head.kind}\n\n{head.metrics.rows:,} test images. "
    if len(names) <= MOST_CLASSES:
        lines = [
            "| truth ↓, predicted → | " + " | ".join(map(_escaped, names)) + " |",
            "|---|" + "--:|" * len(names),
            *(_matrix_line(names[row], row, counts) for row, counts in enumerate(matrix.tolist())),
        ]
        return title + "A row holds the images of one class.\n\n" + "\n".join(lines)
    worst = worst_confusions(matrix, names)
    if not worst:
        return title + "None was taken for another class."
    lines = [f"| {_escaped(each['truth'])} | {_escaped(each['predicted'])} | {each['images']:,} |" for each in worst]
    return title + f"The {len(worst)} most frequent:\n\n| truth | predicted | images |\n|---|---|--:|\n" + "\n".join(lines)


def worst_confusions(matrix: np.ndarray[Any, Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """Pairs of classes that were taken for each other most often, most first; `matrix` is (k, k), rows are the truth."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:WORST]
    cells = [(*divmod(int(cell), len(names)), int(wrong.flat[cell])) for cell in order]
    return [{"truth": names[row], "predicted": names[column], "images": count} for row, column, count in cells if count]


def quarantine(reasons: Mapping[str, int], first: Sequence[Quarantined]) -> list[dict[str, Any]]:
    """A reason a row, the most frequent first, with the first images that have it."""
    examples: dict[str, list[str]] = defaultdict(list)
    for image in first:
        examples[image.reason].append(image.id)
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return [
        {"reason": reason, "images": count, "first images": ", ".join(examples[reason][:EXAMPLES])} for reason, count in ordered
    ]


def drift(batches: Sequence[BatchDrift]) -> list[dict[str, Any]]:
    """The latest batches, the newest first; shifts in standard deviations of the training images."""
    return [
        {
            "batch": each.batch,
            "training images": each.rows,
            "drift": round(each.overall, 3),
            "feature that moved most": f"{each.worst[0][0]} by {each.worst[0][1]:+.1f}" if each.worst else "",
            "look at it": "yes" if each.warned else "",
        }
        for each in reversed(batches[-LATEST:])
    ]


def findings(found: Sequence[Finding]) -> list[dict[str, Any]]:
    """A finding a row, the worst first."""
    order = {"irreparable": 0, "damaged": 1, "derived": 2}
    ordered = sorted(found, key=lambda each: (order[each.severity], each.where))
    return [
        {
            "how bad": str(each.severity),
            "what": each.what,
            "where": each.where,
            "detail": each.detail,
            "what to do": each.advice,
        }
        for each in ordered
    ]


def retried(done: Sequence[Retried]) -> list[dict[str, Any]]:
    """A dataset a row: how many images were tried again, what became of them, and those that the source cannot give."""
    return [
        {
            "dataset": each.dataset,
            "tried again": len(each.retried),
            "now ok": sum(counts["ok"] for counts in each.extracted.values()),
            "again in quarantine": sum(counts["quarantined"] for counts in each.extracted.values()),
            "stay": len(each.stay),
            "which": ", ".join(f"{stay.id} ({stay.reason})" for stay in each.stay[:EXAMPLES]),
        }
        for each in done
    ]


def _head(head: HeadArtifact) -> dict[str, Any]:
    said = head.metrics.summary()
    figure = next(iter(head.metrics.figures))  # the headline's field
    low, high = said["intervals"].get(figure, (None, None))
    return {
        "head": head.kind,
        "measure": said["measure"],
        "score": _rounded(said["score"]),
        "95 % interval": f"{low:.4f} to {high:.4f}" if low is not None and high is not None else "",
        "trained on": head.training_rows,
        "tested on": head.test_rows,
        "fitted": head.fitted_at[:19].replace("T", " "),
    }


def _matrix_line(name: str, row: int, counts: Sequence[int]) -> str:
    cells = [f"**{count}**" if column == row else str(count or "·") for column, count in enumerate(counts)]
    return f"| **{_escaped(name)}** | " + " | ".join(cells) + " |"


def _escaped(name: str) -> str:
    """A class's name comes from outside: nothing in it is Markdown or HTML."""
    plain = " ".join(name.split())
    for sign in "\\|`*_<>[]":
        plain = plain.replace(sign, f"&#{ord(sign)};")
    return plain


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
