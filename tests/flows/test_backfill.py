"""Backfills by a real Prefect server and worker: slices as runs of their own, and what a person does to them meanwhile.

`set_state` is what Prefect's UI calls: it forces `Suspended` upon a run, and `Cancelling`; `resume` is its own call.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.stores import empty_store, images_in, objects, spec_for
from trunkline.locations import Location
from trunkline.stages.scan import scan
from trunkline.store.feature_store import FeatureStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # each slice is a process that imports Prefect

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 900
OVER = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}


@dataclass(frozen=True)
class Server:
    """Calls of its API, as the UI makes them."""

    url: str

    def call(self, method: str, place: str, **body: Any) -> Any:
        request = urllib.request.Request(
            f"{self.url}/{place}",
            json.dumps(body).encode() if body else None,
            {"Content-Type": "application/json"},
            method=method,
        )
        content = until(lambda: _answer(request), lambda found: found is not None)
        return json.loads(content) if content else None

    def start(self, deployment: str, **spec: Any) -> str:
        found = self.call("GET", f"deployments/name/{deployment}/{deployment}")
        return str(self.call("POST", f"deployments/{found['id']}/create_flow_run", parameters={"spec": spec})["id"])

    def run(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"flow_runs/{run}")
        return found

    def slices(self, run: str) -> list[dict[str, Any]]:
        filters = {"parent_flow_run_id": {"any_": [run]}}
        found: list[dict[str, Any]] = self.call("POST", "flow_runs/filter", flow_runs=filters, sort="EXPECTED_START_TIME_ASC")
        return found

    def page(self, run: str) -> str:
        """The Markdown of a backfill, '' before there is one."""
        return str(next((each["data"] for each in self.artifacts(run) if each["key"] == "backfill"), ""))

    def artifacts(self, run: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call(
            "POST", "artifacts/filter", artifacts={"flow_run_id": {"any_": [run]}, "key": {"like_": "backfill%"}}
        )
        return found

    def set_state(self, run: str, type_: str, name: str, **details: Any) -> None:
        state = {"type": type_, "name": name, "state_details": details}
        self.call("POST", f"flow_runs/{run}/set_state", state=state, force=True)

    def ended(self, run: str) -> dict[str, Any]:
        return until(lambda: self.run(run), lambda found: found["state_type"] in OVER)


def _answer(request: urllib.request.Request) -> bytes | None:
    """None where the server is too busy, as SQLite makes it, and took nothing in."""
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as error:
        if error.code != 503:
            raise
        error.close()
        return None


def until(look: Callable[[], Any], enough: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not enough(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.3)
    return found


@pytest.fixture(scope="module")
def server(prefect_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With the deployments on it, and a worker of its pool."""
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    paths = f"{ROOT / 'src'}:{ROOT}"
    environment = {**prefect_environment, "PYTHONPATH": paths, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    deployed = subprocess.run(
        [sys.executable, "-m", "infra.deploy"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "trunkline", "--type", "process"]
    with log.open("wb") as output:
        worker = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield Server(prefect_environment["PREFECT_API_URL"])
    finally:
        worker.terminate()
        worker.wait(60)


@pytest.fixture
def spec(tmp_path: Path, digits_folder: Path, compiled_lite0: Path) -> dict[str, Any]:
    """160 digits under two recipes, in three slices of 64, 64 and 32."""
    store = empty_store(tmp_path / "store", compiled_lite0)
    scan(spec_for(images_in(tmp_path / "images", digits_folder, 160), store))
    recipes = [{}, {"dtype": "float16"}]
    storage = {"rows_per_shard": 64}
    how = {"slice_images": 64, "cluster": {"kind": "inline"}, "price_per_worker_hour": 3.0}
    return {"store": str(store), "recipes": recipes, "storage": storage, **how}


def committed(spec: dict[str, Any]) -> list[int]:
    """Shards of each feature set; three are all."""
    return [len(each.commits.done()) for each in FeatureStore.open(Location.of(spec["store"])).feature_sets("digits")]


def test_slices_are_runs_that_a_person_sees_and_a_second_backfill_does_nothing(server: Server, spec: dict[str, Any]):
    run = server.start("backfill", **spec)
    moved: set[str] = set()
    until(lambda: moved.add(server.page(run)) or server.run(run), lambda found: found["state_type"] in OVER)
    ended = server.ended(run)
    assert (ended["state_type"], ended["name"]) == ("COMPLETED", "digits: 160 images under 2 recipes, done")
    assert ended["state"]["message"] == "160 images extracted."
    assert [each["name"] for each in server.slices(run)] == [
        "slice 1 of 3 of digits: rows 0 to 63, 64 images",
        "slice 2 of 3 of digits: rows 64 to 127, 64 images",
        "slice 3 of 3 of digits: rows 128 to 159, 32 images",
    ]
    assert {each["state_name"] for each in server.slices(run)} == {"Completed"}
    assert committed(spec) == [3, 3]
    bar = next(each for each in server.artifacts(run) if each["key"] == "backfill-progress")
    assert (bar["type"], bar["data"]) == ("progress", 100.0)
    page = server.page(run)
    assert len([each for each in server.artifacts(run) if each["key"] == "backfill"]) == 1
    for words in (
        "| slices | 3 of 3 done |",
        "| images | 160 of 160 (100 %) |",
        "| worker hours | 0.0",
        "| cost so far | 0.",
        "- efficientnet-lite0",
    ):
        assert words in page
    assert any("slice 2 of 3 runs" in each for each in moved)
    before = objects(Path(spec["store"]) / "features")
    second = server.ended(server.start("backfill", **spec))
    assert (second["state_type"], second["state_name"]) == ("COMPLETED", "Cached")
    assert second["name"] == "digits: nothing to do under 2 recipes"
    assert second["state"]["message"] == "Nothing to do: all 160 images of these rows have features under 2 recipes."
    assert server.slices(second["id"]) == []
    assert objects(Path(spec["store"]) / "features") == before


def test_cancelled_half_way_and_started_again_it_does_what_is_left(server: Server, spec: dict[str, Any]):
    run = server.start("backfill", **spec)
    until(lambda: server.slices(run), lambda found: len(found) == 2 and found[1]["state_type"] == "RUNNING")
    server.set_state(run, "CANCELLING", "Cancelling")
    assert server.ended(run)["state_type"] == "CANCELLED"
    first, second = until(lambda: server.slices(run), lambda found: all(each["state_type"] in OVER for each in found))
    assert (first["state_type"], second["state_type"]) == ("COMPLETED", "CANCELLED")
    done = committed(spec)
    assert all(1 <= shards < 3 for shards in done)
    before = objects(Path(spec["store"]) / "features")
    again = server.ended(server.start("backfill", **spec))
    assert (again["state_type"], committed(spec)) == ("COMPLETED", [3, 3])
    left = max(160 - 64 * shards for shards in done)
    assert again["name"] == f"digits: {left} images under 2 recipes, done"
    after = objects(Path(spec["store"]) / "features")
    kept = {name: what for name, what in before.items() if "/commits/" in name}
    assert {name: after[name] for name in kept} == kept


def test_suspended_and_resumed_from_the_ui_it_goes_on(server: Server, spec: dict[str, Any]):
    run = server.start("backfill", **spec)
    until(lambda: server.slices(run), lambda found: found and found[0]["state_type"] == "RUNNING")
    server.set_state(run, "PAUSED", "Suspended", pause_timeout="2099-01-01T00:00:00Z", pause_reschedule=True)
    until(lambda: server.slices(run), lambda found: found[0]["state_type"] in OVER)
    assert server.slices(run)[0]["state_type"] == "COMPLETED"  # what is at work is finished
    assert (len(server.slices(run)), server.run(run)["state_name"]) == (1, "Suspended")
    assert committed(spec) == [1, 1]
    assert server.call("POST", f"flow_runs/{run}/resume")["status"] == "ACCEPT"
    ended = server.ended(run)
    assert (ended["state_type"], ended["state"]["message"]) == ("COMPLETED", "160 images extracted.")
    assert [each["name"][:12] for each in server.slices(run)] == ["slice 1 of 3", "slice 2 of 3", "slice 3 of 3"]
    assert any("| slices | 3 of 3 done |" in each["data"] for each in server.artifacts(run) if each["key"] == "backfill")


def test_paused_it_waits_between_slices(server: Server, spec: dict[str, Any]):
    run = server.start("backfill", **spec)
    until(lambda: server.slices(run), lambda found: found and found[0]["state_type"] == "RUNNING")
    server.set_state(run, "PAUSED", "Paused", pause_timeout="2099-01-01T00:00:00Z", pause_reschedule=False)
    until(lambda: server.page(run), lambda page: "Paused between slices, until it is resumed" in page)
    assert [each["state_type"] for each in server.slices(run)] == ["COMPLETED"]
    assert server.call("POST", f"flow_runs/{run}/resume")["status"] == "ACCEPT"
    ended = server.ended(run)
    assert (ended["state_type"], committed(spec)) == ("COMPLETED", [3, 3])


def test_fresh_batches_go_first_and_a_cancelled_slice_is_left_out(server: Server, spec: dict[str, Any]):
    run = server.start("backfill", **spec)
    until(lambda: server.slices(run), lambda found: found and found[0]["state_type"] == "RUNNING")
    flow = server.call("GET", "flows/name/nightly")["id"]
    parameters = {"spec": {"source": "/images", "store": spec["store"]}}
    night = {
        "flow_id": flow,
        "name": f"night-{uuid.uuid4().hex}",
        "parameters": parameters,
        "state": {"type": "RUNNING", "name": "Running"},
    }
    nightly = server.call("POST", "flow_runs/", **night)
    until(lambda: server.page(run), lambda page: f"Waits for nightly '{night['name']}' (running)" in page)
    assert [each["state_type"] for each in server.slices(run)] == ["COMPLETED"]
    server.set_state(nightly["id"], "COMPLETED", "Completed")
    second = until(lambda: server.slices(run), lambda found: len(found) == 2 and found[1]["state_type"] == "RUNNING")[1]
    server.set_state(second["id"], "CANCELLING", "Cancelling")
    ended = server.ended(run)
    assert ended["state_type"] == "COMPLETED"
    assert ended["state"]["message"].endswith(
        "left out, as they were cancelled: slice 2 of 3 (rows 64 to 127). Start the same backfill again to go on."
    )
    assert "| cancelled, left out | slice 2 of 3 (rows 64 to 127) |" in server.page(run)
    assert [each["state_type"] for each in server.slices(run)] == ["COMPLETED", "CANCELLED", "COMPLETED"]
    again = server.ended(server.start("backfill", **spec))
    assert (again["state_type"], committed(spec)) == ("COMPLETED", [3, 3])


IN_PROCESS = """
import sys
from pathlib import Path
import flows.backfill as flow
from trunkline.errors import StorageError
from trunkline.specs import BackfillSpec
if __name__ == "__main__":
    whole = flow.extract_slice
    def fails(spec, first, stop):
        if first == 64 and sys.argv[2] == "fails":
            raise StorageError("The disk is full.")
        return whole(spec, first, stop)
    flow.extract_slice = fails
    print("ENDED", flow.backfill(BackfillSpec.model_validate_json(sys.argv[1])))
"""


def test_without_a_deployment_slices_run_in_process_and_a_failure_is_tried_once_more(
    prefect_environment: dict[str, str], tmp_path: Path, spec: dict[str, Any]
):
    def started(how: str) -> subprocess.CompletedProcess[str]:
        script = tmp_path / "script.py"
        script.write_text(IN_PROCESS)
        environment = {**prefect_environment, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        command = [sys.executable, str(script), json.dumps(spec), how]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)

    failed = started("fails")
    assert failed.returncode != 0
    said = " ".join((failed.stdout + failed.stderr).split())
    assert "slice 2 of 3 (rows 64 to 127) failed 2 times:" in said
    assert "The disk is full." in said
    assert "then start the same backfill again; it does what is left." in said
    assert committed(spec) == [1, 1]
    done = started("works")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ENDED {'ended': 'done', 'dataset': 'digits', 'left_out': [], 'slices': 2, 'images': 96" in done.stdout
    assert committed(spec) == [3, 3]
