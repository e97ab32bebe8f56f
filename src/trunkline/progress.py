"""What a stage says while it works; the command line draws it, a Prefect task publishes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """`done` of `total` images (or other units) of a stage; `total` is None where it is not known yet."""

    stage: str
    done: int
    total: int | None
    note: str = ""


Progress = Callable[[Step], None]


def silent(_: Step) -> None:
    """Say nothing."""
