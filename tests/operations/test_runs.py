"""The deployments against a whole stack: started as the UI starts them, watched to their end, on s3://."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.digits import write_digits
from tests.operations.conftest import Deployed, Place
from tests.operations.server import ENDED, rows_of, until
from tests.s3 import objects_in, upload

pytestmark = pytest.mark.slow


def test_a_run_is_started_watched_and_read(in_stack: Deployed, place: Place) -> None:
    server = in_stack.server
    (place.source / "3/broken.png").write(b"no image")
    ended = server.completed(server.start("pipeline", spec=place.spec))
    assert "301" in ended["name"]
    artifacts = server.artifacts(ended["id"])
    assert artifacts["extraction"]["data"] == 100.0
    assert {row["head"] for row in rows_of(artifacts["heads"])} == {"softmax", "forest"}
    assert rows_of(artifacts["quarantine"])[0]["reason"] == "not-an-image"
    assert "report.html" in json.dumps([artifacts["summary"]["data"], *(each["data"] for each in artifacts.values())])
    features = place.features()
    X, y = features.numpy(split="train")
    assert len(X) == len(y) == len(features.rows("train"))
    assert np.isfinite(X).all()

    again = server.completed(server.start("pipeline", spec=place.spec))
    assert "nothing new" in again["name"]
    assert len(place.features().rows()) == 300


def test_two_nights_with_new_images_between(in_stack: Deployed, place: Place, tmp_path: Path) -> None:
    server = in_stack.server
    first = server.completed(server.start("nightly", spec=place.spec))
    heads = objects_in(place.store / "heads")
    before, _ = place.features().numpy()

    fresh = write_digits(tmp_path / "more", 360)
    for file in sorted(fresh.rglob("*.png")):
        if int(file.stem) >= 300:
            (place.source / f"{file.parent.name}/{file.name}").write(file.read_bytes())
    second = server.completed(server.start("nightly", spec=place.spec))
    assert "60 extracted of 360" in second["name"], (first["name"], second["name"])
    after, _ = place.features().numpy()
    assert len(after) == 360
    assert np.array_equal(after[: len(before)], before)
    predictions = [json.loads(each["data"]) for key, each in server.artifacts(second["id"]).items() if key == "predictions"]
    assert predictions, "the fitted heads were applied to the new images"
    assert sum(row["rows"] for row in predictions[0]) == 60
    assert objects_in(place.store / "heads") == heads, "no head was fitted again"


def test_an_event_with_a_place_below_the_source_starts_a_night(in_stack: Deployed, place: Place, tmp_path: Path) -> None:
    server = in_stack.server
    server.completed(server.start("nightly", spec=place.spec))
    upload(write_digits(tmp_path / "batch", 8), place.source / "arrived")
    before = {run["id"] for run in server.runs_of("nightly")}
    payload = json.dumps({"source": f"{place.source.uri}/arrived", "store": place.store.uri})
    prefect = Path(sys.executable).with_name("prefect")
    emitted = ("events", "emit", "trunkline.batch.arrived", "--resource-id", "trunkline.source", "--payload", payload)
    in_stack.command(str(prefect), *emitted)
    fresh = until(
        lambda: [run for run in server.runs_of("nightly") if run["id"] not in before], bool, "a run that the event starts"
    )
    until(lambda: server.run(fresh[0]["id"]), lambda run: run["state_type"] in ENDED, "its end")
    assert server.completed(fresh[0]["id"])
    assert len(place.features().rows()) == 308


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pooling": "median"}, "median"),
        ({"max_bad_fraction": 2}, "maximum"),
        ({"stor": "x"}, "stor"),
        ({"heads": [{"kind": "oracle"}]}, "oracle"),
    ],
)
def test_a_wrong_parameter_is_refused_before_a_run_starts(
    in_stack: Deployed, place: Place, change: dict[str, object], said: str
) -> None:
    server = in_stack.server
    before = len(server.runs_of("pipeline"))
    answer = server.try_start("pipeline", spec={**place.spec, **change})
    assert answer.status_code in (400, 409, 422)
    assert said in answer.text
    assert len(server.runs_of("pipeline")) == before


def test_what_only_python_can_judge_fails_at_once_in_words(in_stack: Deployed, place: Place) -> None:
    server = in_stack.server
    ended = server.wait(server.start("pipeline", spec={**place.spec, "backbone": "efficientnet-lite9"}), "FAILED")
    assert "Did you mean efficientnet-lite" in ended["state"]["message"]
    assert ended["run_count"] <= 1


def test_the_same_run_twice_at_once_works_once(in_stack: Deployed, place: Place) -> None:
    server = in_stack.server
    ids = [server.start("pipeline", spec=place.spec) for _ in range(2)]
    names = [server.completed(run)["name"] for run in ids]
    assert len(place.features().rows()) == 300
    extracted = [int(name.split(": ")[1].split(" ")[0]) if "extracted" in name else 0 for name in names]
    assert sum(extracted) == 300, names
