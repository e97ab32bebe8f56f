"""A run whose process died without a word: marked as Crashed, so that it is told of and nothing waits for it.

Runs of the stack, of Compose and of Kubernetes send heartbeats; others are left alone. A run is not stopped by this: where only its way to
the server was cut, it goes on, and its own end replaces the state.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from infra.automations import OUR_RUNS, put

NAME = "trunkline-unresponsive"
HEARTBEAT_SECONDS = 30  # of PREFECT_FLOWS_HEARTBEAT_FREQUENCY
SILENT_SECONDS = 300.0  # longer than the server may be away without harm: a run's client asks again for four minutes
MESSAGE = (
    "Nothing was heard of this run's process for {seconds:.0f} s: it died, or its machine did. What was committed is kept; "
    "start the same run again."
)


def crashed_when_silent(client: Any, seconds: float) -> str:
    """Make or update the automation. Gives what was done, in words."""
    put(client, automation(seconds))
    return f"Silent runs: Crashed after {seconds:.0f} s without a heartbeat"


def automation(seconds: float) -> Any:
    """After a heartbeat another one, or any change of state, has to follow within this time; and after Pending the run has to begin."""
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    return AutomationCore(
        name=NAME,
        description="Marks runs of trunkline's deployments as Crashed when their process is not heard of any more.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat", "prefect.flow-run.Pending"},
            expect={"prefect.flow-run.*"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=seconds),
            **OUR_RUNS,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=MESSAGE.format(seconds=seconds))],
    )
