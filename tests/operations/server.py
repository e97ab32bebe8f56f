"""The Prefect server's API, spoken to as its UI does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
PATIENCE_SECONDS = 420.0
Json = dict[str, Any]


@dataclass(frozen=True)
class Server:
    """`url` ends with `/api`."""

    url: str

    def post(self, place: str, **body: Any) -> Any:
        answer = httpx.post(f"{self.url}/{place}", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def get(self, place: str) -> Any:
        answer = httpx.get(f"{self.url}/{place}", timeout=60)
        answer.raise_for_status()
        return answer.json()

    def deployment(self, name: str) -> Json:
        """By the name that flow and deployment share."""
        found: Json = self.get(f"deployments/name/{name}/{name}")
        return found

    def try_start(self, deployment: str, **parameters: Any) -> httpx.Response:
        """What the server answers to the form's `Submit`."""
        place = f"{self.url}/deployments/{self.deployment(deployment)['id']}/create_flow_run"
        return httpx.post(place, json={"parameters": parameters, "enforce_parameter_schema": True}, timeout=60)

    def start(self, deployment: str, **parameters: Any) -> str:
        """The id of the flow run."""
        answer = self.try_start(deployment, **parameters)
        assert answer.status_code in (200, 201), answer.text
        run: str = answer.json()["id"]
        return run

    def run(self, run: str) -> Json:
        found: Json = self.get(f"flow_runs/{run}")
        return found

    def runs(self, **criteria: Any) -> list[Json]:
        """The newest first."""
        found: list[Json] = self.post("flow_runs/filter", sort="START_TIME_DESC", limit=200, **criteria)
        return found

    def runs_of(self, deployment: str) -> list[Json]:
        return self.runs(deployments={"name": {"any_": [deployment]}})

    def wait(self, run: str, *states: str) -> Json:
        """The run, once it is in one of these states; an end that is none of them fails the test, with the run's log."""
        wanted = states or ENDED
        found = until(lambda: self.run(run), lambda now: now["state_type"] in (*wanted, *ENDED), f"run {run} in {wanted}")
        assert found["state_type"] in wanted, f"{found['name']}: {found['state']}\n" + "\n".join(self.logs(run)[-30:])
        return found

    def completed(self, run: str) -> Json:
        return self.wait(run, "COMPLETED")

    def set_state(self, run: str, kind: str, name: str) -> None:
        """As the UI's buttons do."""
        self.post(f"flow_runs/{run}/set_state", state={"type": kind, "name": name, "message": "by hand"}, force=False)

    def cancel(self, run: str) -> None:
        self.set_state(run, "CANCELLING", "Cancelling")

    def artifacts(self, run: str) -> dict[str, Json]:
        """The newest of each key."""
        found = self.post("artifacts/filter", artifacts={"flow_run_id": {"any_": [run]}}, sort="UPDATED_DESC", limit=200)
        return {each["key"]: each for each in reversed(found)}

    def progress(self, run: str, key: str = "extraction") -> float:
        """Percent; 0 before the artifact is there."""
        found = self.artifacts(run).get(key)
        return float(found["data"]) if found else 0.0

    def logs(self, run: str) -> list[str]:
        found = self.post("logs/filter", logs={"flow_run_id": {"any_": [run]}}, sort="TIMESTAMP_ASC", limit=200)
        return [each["message"] for each in found]


def until(look: Callable[[], Any], good: Callable[[Any], bool], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """What `look` gives as soon as it is good; a server that does not answer is asked again."""
    deadline, last = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            last = look()
            if good(last):
                return last
        except httpx.TransportError as error:
            last = error
        time.sleep(0.3)  # between two looks
    raise AssertionError(f"Waited {seconds:.0f} s for {what}; last seen: {last}")


def rows_of(artifact: Json) -> Sequence[Json]:
    """Of a table artifact."""
    rows: Sequence[Json] = json.loads(artifact["data"])
    return rows
