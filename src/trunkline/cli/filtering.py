"""What `trunkline select` shows: the mask, how it moved, and how far each batch has drifted."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group
from rich.table import Table

from trunkline.cli import show
from trunkline.stages.select import SelectReceipt


def drawn(receipt: SelectReceipt) -> Group:
    """A table of the mask; with `--refit` one of its move; one of drift where there is more than one batch."""
    return Group(*_tables(receipt))


def _tables(receipt: SelectReceipt) -> Iterator[Table]:
    yield show.facts(
        "Mask",
        [
            ("layer", receipt.layer),
            ("features", receipt.dim),
            ("kept", receipt.kept),
            ("dropped", show.in_words(receipt.dropped) or f"{receipt.dim - receipt.kept:,}"),
            ("threshold", f"{receipt.threshold:.6g}"),
            ("training rows", receipt.training_rows),
            ("", "pinned" if receipt.cached else "new"),
        ],
    )
    if receipt.moved is not None:
        move = receipt.moved
        row = (move.kept_before, move.kept_after, move.dropped, move.added, move.overlap)
        yield show.table("Moved", ("kept before", "kept after", "dropped now", "added now", "overlap"), [row])
    if len(receipt.drift) > 1:
        lines = [
            (each.batch, each.rows, each.overall, _worst(each.worst), "!" if each.warned else "") for each in receipt.drift
        ]
        yield show.table("Drift, in training standard deviations", ("batch", "rows", "drift", "moved most", ""), lines)


def _worst(worst: tuple[tuple[int, float], ...]) -> str:
    return ", ".join(f"{number} {shift:+.2f}" for number, shift in worst[:3])
