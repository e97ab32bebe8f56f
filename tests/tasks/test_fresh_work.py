"""Who goes before a backfill."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Running, Scheduled, State

from tasks.fresh_work import Other, _other, goes_first, place

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OWN = UUID(int=7)
NIGHT = Other(UUID(int=1), "nightly", "photos", "Running", "/store", 0, None)


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ({}, True),
        ({"flow": "pipeline"}, True),
        ({"store": "/other"}, False),
        ({"store": ""}, False),
        ({"due": NOW - timedelta(seconds=1)}, True),
        ({"due": NOW + timedelta(hours=8)}, False),
        ({"flow": "backfill", "priority": 5}, False),
        ({"flow": "backfill", "priority": 4}, False),
        ({"flow": "backfill", "priority": 6}, True),
        ({"id": OWN, "flow": "backfill", "priority": 6}, False),
        ({"flow": "backfill-slice", "priority": 0}, False),
    ],
)
def test_fresh_work_and_higher_priorities_on_the_same_store_go_first(change: dict[str, object], first: bool):
    other = replace(NIGHT, **change)  # type: ignore[arg-type]
    assert goes_first([other], OWN, "/store/", 5, NOW) == ([other] if first else [])


def run_of(parameters: dict[str, object], state: State) -> FlowRun:
    return FlowRun(flow_id=uuid4(), name="night", parameters=parameters, state=state, expected_start_time=NOW)


def test_a_run_is_known_by_its_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    found = _other("backfill", run_of({"spec": {"store": "store", "priority": 3}}, Running()))
    assert (found.store, found.priority, found.due, str(found)) == (
        str(tmp_path / "store"),
        3,
        None,
        "backfill 'night' (running)",
    )
    late = _other("nightly", run_of({"spec": {"store": "s3://bucket/x/"}}, Scheduled(name="Late", scheduled_time=NOW)))
    assert (late.store, late.priority, late.due, str(late)) == ("s3://bucket/x", 0, NOW, "nightly 'night' (late)")
    arrived = {"spec": {"store": "/one"}, "arrived": {"source": "/images", "store": "/two"}}
    assert _other("nightly", run_of(arrived, Running())).store == "/two"
    assert _other("nightly", run_of({"spec": None}, Running())).store == ""


@pytest.mark.parametrize(
    ("said", "found"), [("file:///a/b/", "/a/b"), ("s3://b/", "s3://b"), (None, ""), ("s3://u:secret@b/x", "")]
)
def test_stores_are_compared_by_their_place(said: object, found: str):
    assert place(said) == found
