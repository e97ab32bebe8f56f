"""A run that looks at itself; the server's answers are stood in for, the real ones are in `tests/flows/test_backfill.py`."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import Pause
from prefect.states import Cancelled, Cancelling, Paused, Pending, Running, Scheduled, Suspended

from tasks.own_run import CancellationError, OwnRun

RUN = UUID(int=3)


class Answers:
    """A server that gives these states, one a question, each with the number of times that the run was started."""

    def __init__(self, *given: tuple[State, int]) -> None:
        self._given = list(given)

    def read_flow_run(self, run: UUID) -> FlowRun:
        state, count = self._given.pop(0)
        return FlowRun(id=run, flow_id=uuid4(), state=state, run_count=count)


def own(*given: tuple[State, int]) -> OwnRun:
    client: Any = Answers((Running(), 1), *given)
    return OwnRun(client, RUN)


def test_a_run_that_runs_goes_on():
    assert own((Running(), 1)).is_to_wait() is False


def test_a_paused_run_waits_until_it_is_resumed():
    run = own((Paused(timeout_seconds=60), 1), (Paused(timeout_seconds=60), 1), (Running(), 2), (Running(), 2))
    assert [run.is_to_wait() for _ in range(4)] == [True, True, False, False]


@pytest.mark.parametrize(
    ("state", "count"), [(Suspended(timeout_seconds=60), 1), (Scheduled(name="Resuming"), 1), (Pending(), 1), (Running(), 2)]
)
def test_a_run_that_was_suspended_or_resumed_elsewhere_ends_here(state: State, count: int):
    with pytest.raises(Pause):
        own((state, count)).is_to_wait()


@pytest.mark.parametrize("state", [Cancelling(), Cancelled()])
def test_a_run_that_is_being_cancelled_says_so(state: State):
    with pytest.raises(CancellationError):
        own((state, 1)).is_to_wait()
