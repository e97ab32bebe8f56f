"""Kills one after another on one store: each is looked at, the run started again, and at its end all is as if nothing had happened."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tests.kills.place import Place, Undisturbed
from tests.kills.started import STAGES, Log, Started, killed, scheduler_and_workers, started
from tests.stores import ROWS
from trunkline.specs import ClusterSpec

WORKERS = 2
Target = Literal["driver", "worker", "scheduler"]


@dataclass(frozen=True)
class Aim:
    """What to kill, and when: in this stage, at a random moment of it; in extraction once so many shards are done, or have begun."""

    target: Target
    stage: str
    shards: int = 0
    begun: int = 0


@dataclass(frozen=True)
class Kill:
    """One that hit.

    Parameters
    ----------
    stage : where the driver was.
    committed : rows that were committed.
    redone : rows that were computed again after it and before the next one, though their computing had begun before.
    line : where the log stood.
    """

    target: Target
    format: str
    stage: str
    committed: int
    line: int
    redone: int = 0


@dataclass
class Series:
    """One store, from empty to done, with kills on the way; `folder` is its own."""

    place: Place
    folder: Path
    undisturbed: Undisturbed
    random: random.Random
    remote: bool = False
    kills: list[Kill] = field(default_factory=list)
    untouched: dict[str, object] = field(default_factory=dict)

    @property
    def log(self) -> Log:
        return Log(self.folder / "log")

    def suffers(self, aims: Sequence[Aim]) -> list[Kill]:
        """Run until all aims came or were missed, and then to the end; the kills that hit."""
        self.folder.mkdir(exist_ok=True)
        waiting, ended = list(aims), False
        while not ended:
            with self._cluster() as (spec, scheduler, hands), started(self.place.spec(spec), self.folder, self.log) as run:
                ended = self._one_start(run, waiting, scheduler, hands)
            self._look()
        return self._with_what_was_redone()

    def _one_start(self, run: Started, waiting: list[Aim], scheduler: int | None, hands: list[int]) -> bool:
        """Kill until the driver is gone or everything is done; whether it is."""
        while waiting:
            aim = waiting.pop(0)
            if not run.waits_for(lambda aim=aim: self._is_time(run, aim)):  # type: ignore[misc]
                break  # it ended first
            time.sleep(self.random.random() * self.undisturbed.seconds[aim.stage])
            victim = self._victim(aim.target, run, scheduler, hands)
            if run.process.poll() is not None or victim is None:
                continue  # missed
            killed(victim)
            self._note(aim.target, run)
            if aim.target == "driver":
                return False
            if aim.target == "scheduler":
                return self._after_a_scheduler(run)
        return self._ended_well(run)

    def _is_time(self, run: Started, aim: Aim) -> bool:
        stage = run.stage
        if not stage or stage == "ended":
            return stage == "ended"
        if aim.target == "worker" and aim.stage == "extract" and not (run.workers() or self.remote):
            return STAGES.index(stage) > STAGES.index("extract")
        here, there = STAGES.index(stage), STAGES.index(aim.stage)
        far_enough = run.shards("ended") >= aim.shards and run.shards("began") >= aim.begun
        return here > there or (here == there and far_enough)

    def _victim(self, target: Target, run: Started, scheduler: int | None, hands: list[int]) -> int | None:
        if target == "driver":
            return run.process.pid
        if target == "scheduler":
            return scheduler
        alive = hands or run.workers()
        if not alive:
            return None
        chosen = self.random.choice(sorted(alive))
        if hands:
            hands.remove(chosen)
        return chosen

    def _note(self, target: Target, run: Started) -> None:
        line = len(self.log.lines())
        shards = {name for name in self.place.committed() if name in self.undisturbed.shards}
        rows = sum(min(ROWS, self.undisturbed.rows - int(name)) for name in shards)
        self.kills.append(Kill(target, self.place.format, run.stage, rows, line))

    def _after_a_scheduler(self, run: Started) -> bool:
        """It says what is wrong and that it can be started again; a run that needs it no more ends well."""
        code, _, said = run.ended()
        if code == 0:
            return self._ended_well(run)
        assert code == 1, said
        errors = [line for line in said.splitlines() if line.startswith("Error:")]
        assert len(errors) == 1, said
        assert "scheduler" in errors[0], said
        assert "start the same command again" in errors[0].lower(), said
        return False

    def _ended_well(self, run: Started) -> bool:
        code, out, said = run.ended()
        assert code == 0, said
        summary: dict[str, Any] = json.loads(out.splitlines()[-1])
        self.place.assert_as_if_nothing_had_happened(summary, self.undisturbed)
        return True

    def _look(self) -> None:
        """What is visible is right, and what was committed when last looked at has not been touched since."""
        self.place.assert_what_is_visible_is_right(self.undisturbed)
        now = self.place.written_once(self.place.committed())
        assert {name: now[name] for name in self.untouched} == self.untouched
        self.untouched = now

    def _with_what_was_redone(self) -> list[Kill]:
        """Nothing that was committed is computed again; what had begun and was not, is counted."""
        lines = self.log.lines()
        begun: dict[str, int] = {}
        again: list[tuple[int, int]] = []
        for number, line in enumerate(lines):
            if line.get("attempt") == "began":
                if line["shard"] in begun:
                    again.append((number, line["rows"]))
                begun[line["shard"]] = line["rows"]
        ends = [kill.line for kill in self.kills[1:]] + [len(lines)]
        return [
            replace(kill, redone=sum(rows for number, rows in again if kill.line <= number < end))
            for kill, end in itertools.zip_longest(self.kills, ends)
            if kill
        ]

    @contextlib.contextmanager
    def _cluster(self) -> Iterator[tuple[ClusterSpec, int | None, list[int]]]:
        if not self.remote:
            yield ClusterSpec(kind="local", workers=WORKERS), None, []
            return
        with scheduler_and_workers(self.folder, self.log, WORKERS) as (address, scheduler, hands):
            yield ClusterSpec(kind="address", address=address), scheduler, list(hands)


def seeded(seed: int, *more: object) -> random.Random:
    """Random numbers of one series; print the seed to get them again."""
    return random.Random("-".join(map(str, (seed, *more))))
