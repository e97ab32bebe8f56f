"""`trunkline run` as a process that says where it is: each step and each attempt at a shard becomes a line of a log.

Its own small writes take a moment, as on a slow disk, so that a kill can fall between any two of them.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

from trunkline.cli import main, show
from trunkline.extraction import RowsReceipt, SharedJob, extract_rows
from trunkline.locations import Location
from trunkline.progress import Progress, Step
from trunkline.shards import Shard
from trunkline.stages import up_to_date
from trunkline.store.feature_set import FeatureSet

LOG = "TRUNKLINE_KILLS_LOG"
SLOW_SECONDS = 0.02


def say(**line: Any) -> None:
    """One line, whole, whoever else writes."""
    line |= {"pid": os.getpid(), "time": time.monotonic()}
    place = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(place, json.dumps(line).encode() + b"\n")
    finally:
        os.close(place)


def counted(shared: SharedJob, shard: Shard) -> RowsReceipt:
    """`extract_rows`, and a line before and after it; with one recipe the rows are a shard."""
    (job,) = shared.jobs
    committed = FeatureSet.open(job.feature_set).commits.has(shard.name)
    say(shard=shard.name, rows=shard.rows, attempt="found" if committed else "began")
    receipt = extract_rows(shared, shard)
    say(shard=shard.name, rows=shard.rows, attempt="ended")
    return receipt


@contextlib.contextmanager
def progress_on(_: object) -> Iterator[Progress]:
    def told(step: Step) -> None:
        say(stage=step.stage, done=step.done)

    yield told


def slowly(write: Callable[..., None]) -> Callable[..., None]:
    """The same, with a moment before and after it."""

    def slow(self: Location, content: bytes, *more: str) -> None:
        time.sleep(SLOW_SECONDS)
        write(self, content, *more)
        time.sleep(SLOW_SECONDS)

    return slow


def run() -> None:
    """What `trunkline run SPEC --json` does, told and slowed."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # where it stands, if it does not end
    show.progress_on = progress_on
    up_to_date.extract_rows = counted
    Location.write = slowly(Location.write)  # type: ignore[method-assign]
    Location.create = slowly(Location.create)  # type: ignore[method-assign]
    try:
        main()
    finally:
        say(stage="ended", done=1)
