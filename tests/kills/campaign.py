"""All kills: which processes, in which stages, on which kinds of store; and the table of what came of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from tests.kills import made
from tests.kills.place import Undisturbed
from tests.kills.series import Aim, Kill, Series, Target, seeded
from tests.kills.started import STAGES

FORMATS = ("zarr", "hdf5", "s3")
LATER = ("select", "fit", "report")


def aims(target: Target) -> list[Aim]:
    """One series: every stage in order, extraction at several places. Workers of a local cluster start with extraction."""
    extraction = [Aim(target, "extract"), Aim(target, "extract", begun=1), Aim(target, "extract", 1), Aim(target, "extract", 2)]
    later = [Aim(target, stage) for stage in LATER]
    scan = {"driver": [Aim("driver", "scan")], "worker": [], "scheduler": [Aim("worker", "scan"), Aim("scheduler", "scan")]}
    return [*scan[target], *extraction, *later]


def series(
    kind: str, target: Target, number: int, seed: int, folder: Path, source: Path, backbone: Path, undisturbed: Undisturbed
):
    """One store, to be killed on; workers and schedulers that are there during a scan are processes of their own."""
    place = made.fresh(kind, folder, source, backbone)
    remote = target == "scheduler"
    return Series(place, folder, undisturbed, seeded(seed, kind, target, number), remote)


def table(kills: Sequence[Kill]) -> Iterator[str]:
    """A line for each process, stage and format: how many kills, what was committed at them, what was redone after them."""
    columns = ("killed", "in stage", "store", "kills", "rows committed at the kill", "rows redone", "verdict")
    yield "| " + " | ".join(columns) + " |"
    yield "|---|---|---|---:|---|---:|---|"
    ordered = sorted(kills, key=_place)
    for (target, _, kind), some in groupby(ordered, key=_place):
        group = list(some)
        committed = sorted(kill.committed for kill in group)
        between = str(committed[0]) if committed[0] == committed[-1] else f"{committed[0]} to {committed[-1]}"
        redone = sum(kill.redone for kill in group)
        yield f"| {target} | {group[0].stage} | {kind} | {len(group)} | {between} | {redone} | equal bit for bit |"
    yield f"| all | | | {len(kills)} | | {sum(kill.redone for kill in kills)} | |"


def _place(kill: Kill) -> tuple[str, int, str]:
    stages = (*STAGES, "ended")
    return kill.target, stages.index(kill.stage), kill.format
