"""Deployments as users meet them: from the API as the UI starts them, by an event, cancelled, started twice, told of when they fail."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.flows.deployed import Deployed, RefusedError, deployed, until
from tests.stores import empty_store, images_in
from trunkline.clusters import Cluster
from trunkline.locations import Location
from trunkline.maintenance.verify import verify
from trunkline.specs import ClusterSpec
from trunkline.store.lease import latest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

HEADS = [{"kind": "softmax", "C": [0.001]}]
EVENT = "trunkline.batch.arrived"


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory, prefect_environment: dict[str, str]) -> Iterator[Deployed]:
    with deployed(prefect_environment, tmp_path_factory.mktemp("deployed")) as made:
        yield made


@pytest.fixture
def store(tmp_path: Path, compiled_lite0: Path) -> Path:
    return empty_store(tmp_path / "store", compiled_lite0)


def spec_of(source: Path, store: Path, **changes: Any) -> dict[str, Any]:
    """One local worker, small shards, one quick head."""
    said = {"source": str(source), "store": str(store), "heads": HEADS, "cluster": {"kind": "local", "workers": 1}}
    return {**said, "storage": {"rows_per_shard": 64}, **changes}


def many_in(folder: Path, digits: Path, copies: int) -> Path:
    """Folders of links to 300 images each."""
    for number in range(copies):
        (folder / f"{number}").mkdir(parents=True)
        for file in sorted(digits.glob("*/*.png")):
            (folder / f"{number}" / f"{file.parent.name}-{file.name}").symlink_to(file)
    return folder


def commits(store: Path) -> list[Path]:
    return sorted(store.glob("features/*/*/commits/*.parquet"))


def is_clean(store: Path) -> None:
    with Cluster(ClusterSpec(kind="inline")) as cluster:
        assert verify(str(store), cluster).findings == ()


def test_nights(there: Deployed, store: Path, digits_folder: Path, tmp_path: Path) -> None:
    source = images_in(tmp_path / "images", digits_folder, 200)
    (source / "3" / "broken.png").write_bytes(b"")
    night = {"spec": spec_of(source, store)}
    first = there.ended(there.start("nightly", **night))
    assert (first["state_name"], first["name"]) == (
        "Completed",
        "images through efficientnet-lite0: 201 extracted of 201 images",
    )
    assert there.tasks_of(first["id"])["heads as fitted before"]["state_name"] == "Completed"
    shown = there.artifacts_of(first["id"])
    assert {"extraction", "summary", "heads", "confusion-softmax", "quarantine"} <= set(shown)
    assert json.loads(shown["quarantine"]["data"]) == [{"reason": "empty", "images": 1, "first images": "3/broken.png"}]

    images_in(source, digits_folder, 40, first=200)
    second = there.ended(there.start("nightly", **night))
    assert second["name"] == "images through efficientnet-lite0: 40 extracted of 241 images"
    assert second["state"]["message"] == "40 images extracted, 40 predictions made."
    tasks = there.tasks_of(second["id"])
    assert {tasks[name]["state_name"] for name in ("select features", "heads as fitted before")} == {"Cached"}
    assert [task["state"]["message"] for name, task in tasks.items() if name.endswith("on batch 1")] == [
        "40 rows predicted now"
    ]
    assert {"drift", "predictions"} <= set(there.artifacts_of(second["id"]))

    third = there.ended(there.start("nightly", **night))
    assert third["name"] == "images through efficientnet-lite0: nothing new, 241 images"
    assert third["state"]["message"] == f"Nothing new in {source}; 241 images are as they were."
    assert {task["state_name"] for task in there.tasks_of(third["id"]).values()} == {"Cached"}

    (source / "3" / "broken.png").write_bytes((source / "3" / "0013.png").read_bytes())
    retried = there.ended(there.start("retry-quarantine", store=str(store), cluster={"kind": "inline"}))
    assert retried["state"]["message"] == "1 image tried again; 0 stay in quarantine, as the source cannot give them."
    checked = there.ended(there.start("verify", store=str(store)))
    assert checked["state_name"] == "Completed"
    assert checked["state"]["message"].startswith("1 feature set with 6 shards: all as it was written")


def test_an_event_starts_a_run_of_the_dataset_it_is_about(
    there: Deployed, store: Path, digits_folder: Path, tmp_path: Path
) -> None:
    source = images_in(tmp_path / "arriving", digits_folder, 130)
    before = {run["id"] for run in there.runs_of("nightly")}

    def emit(place: Path) -> dict[str, Any]:
        payload = json.dumps({"source": str(place), "store": str(store), "by": "a crawler"})
        there.prefect("events", "emit", EVENT, "--resource-id", "trunkline.source", "--payload", payload)
        until(lambda: len(there.runs_of("nightly")) > len(before), "the event started a run")
        (run,) = (run["id"] for run in there.runs_of("nightly") if run["id"] not in before)
        before.add(run)
        return there.ended(run)

    assert emit(source)["name"] == "arriving through efficientnet-lite0: 130 extracted of 130 images"
    images_in(source, digits_folder, 20, first=130)
    assert emit(source / "3")["name"] == "arriving through efficientnet-lite0: 20 extracted of 150 images"


def test_findings_fail_the_run_and_somebody_is_told(there: Deployed, finished_store: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(finished_store, store)
    damaged = commits(store)[0]
    damaged.write_bytes(damaged.read_bytes()[:-20])
    run = there.ended(there.start("verify", store=str(store)))
    assert run["state_name"] == "Failed"
    assert damaged.name.removesuffix(".parquet") in run["state"]["message"]
    assert f"trunkline verify {store} --repair" in run["state"]["message"]
    assert json.loads(there.artifacts_of(run["id"])["findings"]["data"])[0]["how bad"] == "damaged"
    until(lambda: any(run["id"] in told["text"] for told in there.alerts), "the alert came")
    (told,) = (told for told in there.alerts if run["id"] in told["text"])
    assert told["subject"] == f"trunkline: verify Failed: verify {store}"
    assert f"/runs/flow-run/{run['id']}" in told["text"]


def test_a_wrong_parameter_is_refused_before_a_run_starts(there: Deployed, store: Path, tmp_path: Path) -> None:
    runs = len(there.runs_of("pipeline"))
    with pytest.raises(RefusedError, match=r"409: .*'spec\.heads\[0\]\.kind'.*'softmx' is not one of \['softmax'"):
        there.start("pipeline", spec=spec_of(tmp_path, store, heads=[{"kind": "softmx"}]))
    assert len(there.runs_of("pipeline")) == runs


def test_what_only_python_can_judge_fails_at_once_in_words(there: Deployed, store: Path, tmp_path: Path) -> None:
    grid = [{"kind": "softmax", "C": [0.001 * number for number in range(1, 502)]}]
    run = there.ended(there.start("pipeline", spec=spec_of(tmp_path, store, heads=grid)))
    assert (run["state_name"], run["run_count"]) == ("Failed", 0)  # refused before the flow's first line
    assert "a grid of 501 candidates" in run["state"]["message"]
    assert "Traceback" not in run["state"]["message"]
    run = there.ended(there.start("pipeline", spec=spec_of(tmp_path, store, backbone="resnet5")))
    assert (run["state_name"], run["run_count"]) == ("Failed", 1)
    assert "Did you mean resnet50" in run["state"]["message"]


def test_cancelled_and_started_again(there: Deployed, store: Path, digits_folder: Path, tmp_path: Path) -> None:
    source = many_in(tmp_path / "many", digits_folder, 20)
    work = {"spec": spec_of(source, store, labels="none")}
    run = there.start("pipeline", **work)
    until(lambda: len(commits(store)) >= 2, "two shards are committed")
    started_here = _workers_of(store)
    assert (
        there.call(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})["status"] == "ACCEPT"
    )
    assert there.ended(run)["state_name"] == "Cancelled"
    until(lambda: not any(process.is_running() for process in started_here), "the Dask workers have ended")
    (leases,) = store.glob("features/*/*/leases")
    lease = latest(Location.of(leases))
    assert lease is not None
    assert lease.released
    assert there.artifacts_of(run)["extraction"]["description"].endswith("and stopped there")
    is_clean(store)
    done = {place: place.stat().st_mtime_ns for place in commits(store)}
    assert len(done) < 94
    again = there.ended(there.start("pipeline", **work))
    assert again["state_name"] == "Completed"
    assert len(commits(store)) == 94
    assert {place: place.stat().st_mtime_ns for place in done} == done  # nothing was extracted twice
    is_clean(store)


def test_started_twice_it_does_not_run_twice(there: Deployed, store: Path, digits_folder: Path, tmp_path: Path) -> None:
    source = images_in(tmp_path / "images", digits_folder, 300)
    runs = [there.start("pipeline", spec=spec_of(source, store)) for _ in range(2)]
    ended = [there.ended(run) for run in runs]
    assert [run["state_name"] for run in ended] == ["Completed", "Completed"]
    tasks = [there.tasks_of(run) for run in runs]
    for stage in ("extract efficientnet-lite0", "fit heads"):
        assert sorted(each[stage]["state_name"] for each in tasks) == ["Cached", "Completed"]
        assert {each[stage]["run_count"] for each in tasks} == {1}
    is_clean(store)


def _workers_of(store: Path) -> list[psutil.Process]:
    """The processes below the flow run that writes this store."""
    (lease,) = store.glob("features/*/*/leases/lease-000001.json")
    driver = psutil.Process(json.loads(lease.read_text())["pid"])
    assert driver.pid != os.getpid()
    return driver.children(recursive=True)
