"""Who goes before a backfill: fresh batches on the same store, and backfills with a higher priority."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType

from trunkline.errors import TrunklineError
from trunkline.locations import Location

FRESH = ("nightly", "pipeline")  # flows
BACKFILL = "backfill"
AT_WORK = (StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.CANCELLING)
MOST = 200  # runs that are asked for


@dataclass(frozen=True)
class Other:
    """A run that is at work or due: its flow, name and state, the store it writes, a backfill's priority, when it was meant to start."""

    id: UUID
    flow: str
    name: str
    state: str
    store: str
    priority: int
    due: datetime | None

    def __str__(self) -> str:
        return f"{self.flow} {self.name!r} ({self.state.lower()})"


def goes_first(others: Iterable[Other], own: UUID, store: str, priority: int, now: datetime) -> list[Other]:
    """Those that a backfill on this store waits for; a run that is scheduled for later does not count."""
    here = place(store)
    return [
        each
        for each in others
        if each.id != own
        and each.store == here
        and (each.flow in FRESH or each.priority > priority)
        and (each.due is None or each.due <= now)
    ]


def at_work(client: SyncPrefectClient) -> list[Other]:
    """Runs of the flows in question that run, are about to, or are scheduled."""
    found = []
    for flow in (*FRESH, BACKFILL):
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(AT_WORK)))),
            limit=MOST,
        )
        found += [_other(flow, run) for run in runs]
    return found


def place(store: Any) -> str:
    """A store's root as it is compared; '' for what is none."""
    try:
        return Location.of(str(store)).uri if store else ""
    except TrunklineError:
        return ""


def _other(flow: str, run: FlowRun) -> Other:
    said = run.parameters.get("spec")
    spec = said if isinstance(said, dict) else {}
    arrived = run.parameters.get("arrived")
    store = (arrived or {}).get("store") if isinstance(arrived, dict) else None
    scheduled = run.state is not None and run.state.type == StateType.SCHEDULED
    due = run.expected_start_time.astimezone(UTC) if scheduled and run.expected_start_time else None
    state = run.state.name if run.state and run.state.name else ""
    return Other(run.id, flow, run.name, state, place(store or spec.get("store")), int(spec.get("priority") or 0), due)
