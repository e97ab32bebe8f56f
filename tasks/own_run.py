"""A flow run that looks at itself: was it paused, suspended or cancelled in the UI, and what became of the runs that it started?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound, Pause
from prefect.states import Cancelling

from tasks.asking import asked

PAGE = 200


class OwnRun:
    """This flow run as the server knows it.

    Prefect's UI suspends a run: it forces the state Suspended upon it, and resuming schedules the run anew, from its beginning, in another
    process. The API also pauses: the process stays, and goes on when the state is Running again.
    """

    def __init__(self, client: SyncPrefectClient, run: UUID) -> None:
        self._client, self.id = client, run
        first = asked(lambda: client.read_flow_run(run))
        self._count, self.deployment_id, self.started = first.run_count, first.deployment_id, first.start_time

    def is_to_wait(self) -> bool:
        """Whether it is paused and this process stays.

        Raises
        ------
        Pause : it was suspended, or was resumed in another process: this process has to end without another word.
        CancellationError : it is being cancelled.
        """
        now = asked(lambda: self._client.read_flow_run(self.id))
        state = now.state
        if state is None:
            return False
        if state.type in (StateType.CANCELLING, StateType.CANCELLED):
            raise CancellationError
        if state.type == StateType.PAUSED:
            if state.state_details.pause_reschedule:
                raise Pause(state=state)
            self._count = now.run_count + 1  # that of the resumed run
            return True
        if state.type in (StateType.SCHEDULED, StateType.PENDING) or now.run_count > self._count:
            raise Pause(state=state)
        return False

    def children(self) -> Iterator[FlowRun]:
        """The runs that this one started, also before it was suspended."""
        seen = 0
        while page := self._page(seen):
            yield from page
            seen += len(page)

    def _page(self, offset: int) -> list[FlowRun]:
        mine = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[self.id]))
        return asked(lambda: self._client.read_flow_runs(flow_run_filter=mine, limit=PAGE, offset=offset))


class CancellationError(Exception):
    """The run is being cancelled."""


def cancel(client: SyncPrefectClient, run: UUID) -> None:
    """Ask for a run's end, whose worker then ends its process."""
    client.set_flow_run_state(run, Cancelling(message="Its backfill was cancelled."))


def has_deployment(client: SyncPrefectClient, name: str) -> bool:
    try:
        client.read_deployment_by_name(name)
    except ObjectNotFound:
        return False
    return True


def is_over(state: State[Any] | None) -> bool:
    return state is not None and state.is_final()
