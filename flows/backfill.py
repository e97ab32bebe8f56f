"""A backfill in slices, each a flow run of its own: rows of a dataset under several recipes, from one decode of each image.

The flow keeps nothing that it needs: what is left is planned from the store, and what was done is counted from the runs of its
slices. So it may be cancelled, suspended and resumed, or killed at any moment, and started again.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from prefect import flow, get_run_logger, runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.deployments import run_deployment
from prefect.exceptions import TerminationSignal
from prefect.states import Cancelled

from tasks.asking import asked
from tasks.backfill_shown import Board, Shown, Tally, labels_of
from tasks.backfilling import extract_slice, measure_effects, plan_slices
from tasks.fresh_work import at_work, goes_first
from tasks.own_run import CancellationError, OwnRun, cancel, has_deployment, is_over
from tasks.publishing import rename_run
from tasks.stage import ended
from trunkline.errors import RunError
from trunkline.specs import BackfillSpec
from trunkline.stages.backfill import hours_left
from trunkline.stages.backfill_plan import BackfillPlan, Slice
from trunkline.wording import counted

SLICES = "backfill-slice/backfill-slice"
SECONDS_BETWEEN_LOOKS = 2.0
TRIES = 2  # of a slice


def _name() -> str:
    said: Any = (runtime.flow_run.parameters or {}).get("spec")
    store = said.get("store") if isinstance(said, dict) else getattr(said, "store", None)
    return f"backfill of {store or 'no store'}"


@flow(name="backfill-slice", persist_result=False)
def backfill_slice(spec: BackfillSpec, first: int, stop: int) -> dict[str, Any]:
    """One slice of a backfill: rows [first, stop) under the spec's recipes. What is committed is not computed again.

    Parameters
    ----------
    spec : of the backfill.
    first : the first row.
    stop : the row after the last one.
    """
    if not runtime.flow_run.parent_flow_run_id:  # a backfill has named its slices
        rename_run(f"rows {first:,} to {stop - 1:,} of {spec.dataset or spec.store}")
    receipt = extract_slice(spec, first, stop)
    with get_client(sync_client=True) as client:
        asked(lambda: client.update_flow_run_labels(UUID(runtime.flow_run.id), labels_of(receipt)))
    return ended(receipt.summary(), receipt.in_words(), cached=not receipt.images)


@flow(name="backfill", flow_run_name=_name, persist_result=False)
def backfill(spec: BackfillSpec) -> dict[str, Any]:
    """Extract rows of a dataset under one recipe or several, slice by slice; what is committed is not computed again.

    Fresh batches go before it: between slices it waits for nightly runs on the same store, and for backfills of a higher priority. Cancel
    a slice alone, and it is left out; cancel or suspend the backfill, and it goes on where it stopped when it is resumed or started again.

    Parameters
    ----------
    spec : which rows, which recipes, how far it may go. Only the store has no default.
    """
    with get_client(sync_client=True) as client:
        try:
            return _Backfill(client, spec).run()
        except CancellationError:
            return Cancelled(message="Cancelled. Started again, the backfill does what is left.")  # type: ignore[return-value]


class _Backfill:
    def __init__(self, client: SyncPrefectClient, spec: BackfillSpec) -> None:
        self._client, self._spec = client, spec
        self._own = OwnRun(client, UUID(runtime.flow_run.id))
        self._apart = self._own.deployment_id is not None and has_deployment(client, SLICES)
        self._tally = Tally()
        self._board: Board | None = None
        self._left_out: list[str] = []

    def run(self) -> dict[str, Any]:
        for child in list(self._own.children()):  # of before it was suspended, the last of which may still be at work
            self._finished(child.id)
        before = self._tally
        spec = self._spec
        if spec.max_images is not None and before.images:
            spec = spec.model_copy(update={"max_images": max(1, spec.max_images - before.images)})
        plan = plan_slices(spec)
        name = f"{plan.dataset}: {plan.images:,} images under {counted(len(plan.recipes), 'recipe')}"
        if not plan.slices:
            rename_run(f"{plan.dataset}: nothing to do under {counted(len(plan.recipes), 'recipe')}")
            return ended(self._summary("nothing", plan), plan.headline, cached=not before.images)
        rename_run(f"{name} in {counted(len(plan.slices), 'slice')}")
        self._board = self._begin(plan)
        for each in plan.slices:
            self._wait_for_others()
            left = self._hours_left()
            if left == 0.0:
                return self._end("hours", plan, "max_hours are over")
            self._slice(each, before.slices, plan, self._spec.model_copy(update={"max_hours": left}))
        if self._hours_left() == 0.0:
            return self._end("hours", plan, "max_hours are over")
        if plan.later:
            return self._end("images", plan, f"max_images is reached, and {plan.later:,} images are left")
        if not self._left_out:
            measure_effects(self._spec)
        return self._end("done", plan, "")

    def _begin(self, plan: BackfillPlan) -> Board:
        board = Board(
            self._client,
            Shown(
                dataset=plan.dataset,
                recipes=tuple(plan.recipes.values()),
                now="The slices are planned",
                slices=self._tally.slices + len(plan.slices),
                images=self._tally.images + plan.images,
                tally=self._tally,
                estimate=plan.seconds,
                price=self._spec.price_per_worker_hour,
            ),
        )
        board.show()
        return board

    def _slice(self, each: Slice, before: int, plan: BackfillPlan, spec: BackfillSpec) -> None:
        """One slice, tried once more where it fails; where a person cancels it, it is left out."""
        where = f"slice {before + each.number} of {before + len(plan.slices)}"
        rows = f"rows {each.first:,} to {each.stop - 1:,}"
        for attempt in range(1, TRIES + 1):
            name = f"{where} of {plan.dataset}: {rows}, {each.images:,} images" + (" again" if attempt > 1 else "")
            self._show(now=f"{where} runs: {rows}, {each.images:,} images", running=0.0)
            state = self._finished(self._start(spec, each, name), each.images)
            if state.type == StateType.COMPLETED:
                return
            if state.type == StateType.CANCELLED:
                get_run_logger().warning("%s (%s) was cancelled and is left out", where, rows)
                self._left_out.append(f"{where} ({rows})")
                self._show(left_out=tuple(self._left_out))
                return
            said = state.message or state.name
            get_run_logger().warning("%s (%s) failed, attempt %d of %d: %s", where, rows, attempt, TRIES, said)
        raise RunError(
            f"{where} ({rows}) failed {TRIES} times: {said} The log of its run {name!r} says more. What was committed is kept: mend that, "
            "then start the same backfill again; it does what is left."
        )

    def _start(self, spec: BackfillSpec, each: Slice, name: str) -> UUID:
        """A run of its own where there is a deployment for it, else a flow within this process, which is over afterwards."""
        parameters = {"spec": spec.model_dump(mode="json"), "first": each.first, "stop": each.stop}
        if self._apart:
            once = uuid4().hex  # asked again, the server gives the run that it made
            started: Any = asked(
                lambda: run_deployment(SLICES, parameters=parameters, timeout=0, flow_run_name=name, idempotency_key=once)
            )
            return UUID(str(started.id))
        within: Any = backfill_slice.with_options(flow_run_name=name)
        state = within(spec, each.first, each.stop, return_state=True)
        return UUID(str(state.state_details.flow_run_id))

    def _finished(self, run: UUID, images: int = 0) -> Any:
        """Wait for a slice's run and count it; its last state."""
        try:
            while not is_over((child := asked(lambda: self._client.read_flow_run(run))).state):
                if self._own.is_to_wait():
                    self._show(now="Paused; the slice that runs goes on to its end")
                self._show(running=images * self._board.progress_of(run) if self._board and images else 0.0)
                time.sleep(SECONDS_BETWEEN_LOOKS)
        except (CancellationError, TerminationSignal):
            cancel(self._client, run)
            raise
        self._tally = self._tally.with_slice(child.labels)
        self._show(tally=self._tally, running=0.0)
        return child.state

    def _wait_for_others(self) -> None:
        """Until it is not paused, and nobody is there who goes first."""
        while True:
            if self._own.is_to_wait():
                self._show(now="Paused between slices, until it is resumed")
            else:
                others = asked(lambda: at_work(self._client))
                first = goes_first(others, self._own.id, self._spec.store, self._spec.priority, datetime.now(UTC))
                if not first:
                    return
                self._show(now=f"Waits for {', '.join(map(str, first))}")
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _hours_left(self) -> float | None:
        started = self._own.started or datetime.now(UTC)
        return hours_left(self._spec, (datetime.now(UTC) - started).total_seconds())

    def _end(self, why: str, plan: BackfillPlan, words: str) -> dict[str, Any]:
        out = f"left out, as they were cancelled: {', '.join(self._left_out)}" if self._left_out else ""
        said = "; ".join(part for part in (f"{self._tally.images:,} images extracted", words, out) if part)
        again = "" if why == "done" and not out else " Start the same backfill again to go on."
        self._show(now=f"Ended: {said}.{again}")
        rename_run(f"{plan.dataset}: {self._tally.images:,} images under {counted(len(plan.recipes), 'recipe')}, {why}")
        return ended(self._summary(why, plan), f"{said[0].upper()}{said[1:]}.{again}")

    def _summary(self, why: str, plan: BackfillPlan) -> dict[str, Any]:
        return {"ended": why, "dataset": plan.dataset, "left_out": list(self._left_out), **vars(self._tally)}

    def _show(self, **changes: Any) -> None:
        if self._board is not None:
            self._board.show(**changes)
