"""Runs and stages under watch: how they end, what is counted, what the log says."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from trunkline.blocks import Timings
from trunkline.errors import RunError, SourceError
from trunkline.extraction import ShardReceipt
from trunkline.logs import current
from trunkline.shards import Shard
from trunkline.specs import RunSpec
from trunkline.stages.watched import OUTCOMES, watched, watched_run, watched_shards
from trunkline.telemetry import counting
from trunkline.telemetry.folder import collect
from trunkline.telemetry.names import parsed

SPEC = RunSpec(source="/photos", store="/store")


@pytest.fixture
def metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TRUNKLINE_METRICS_DIR", str(tmp_path))
    yield tmp_path
    counting.close()


def figures(folder: Path, name: str) -> dict[str, float]:
    """Label values, without the dataset, → value."""
    found = {}
    for key, value in collect(folder).items():
        which, labels = parsed(key)
        assert labels.pop("dataset") == "photos"
        if which == f"trunkline_{name}":
            found[" ".join(labels[label] for label in sorted(labels))] = value
    return found


def end(error: type[BaseException] | None) -> None:
    with watched_run("photos", "r1"):
        if error is not None:
            raise error("on purpose")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(None, "succeeded"), (SourceError, "refused"), (RunError, "failed"), (OSError, "failed"), (KeyboardInterrupt, "stopped")],
)
def test_runs_are_counted_by_how_they_end(
    metrics: Path, caplog: pytest.LogCaptureFixture, error: type[BaseException] | None, outcome: str
) -> None:
    caplog.set_level(logging.INFO, "trunkline")
    if error is None:
        end(None)
    else:
        with pytest.raises(error, match="on purpose"):
            end(error)
    assert figures(metrics, "runs_total") == {**dict.fromkeys(OUTCOMES, 0.0), outcome: 1.0}
    assert figures(metrics, "runs_active") == {"": 0.0}
    assert len(figures(metrics, "last_success_timestamp_seconds")) == (error is None)
    assert caplog.messages[0] == "Run r1 of photos starts"
    assert caplog.messages[-1].startswith(f"Run r1 of photos {outcome} after 0.")


def test_a_stage_says_its_start_and_its_end_in_its_receipts_words(metrics: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trunkline")

    @watched("scan", lambda found: f"{found['new']} new")
    def scan(spec: RunSpec, more: int) -> dict[str, object]:
        return {"new": more, "known": current(), "store": spec.store}

    with watched_run("photos", "r1"):
        receipt = scan(SPEC, more=3)
    assert receipt == {"new": 3, "known": {"run": "r1", "dataset": "photos"}, "store": "/store"}
    assert caplog.messages[1] == "scan of photos starts"
    assert caplog.messages[2].startswith("scan of photos took 0.")
    assert caplog.messages[2].endswith(" s: 3 new")
    assert list(figures(metrics, "stage_seconds_total")) == ["scan"]
    assert current() == {}


def test_a_stage_that_fails_says_so_and_counts_its_seconds(metrics: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trunkline")

    @watched("fit", str)
    def fit(_: RunSpec) -> str:
        raise RunError("on purpose")

    with pytest.raises(RunError, match="on purpose"):
        fit(SPEC)
    assert caplog.messages[-1].endswith(" s with RunError")
    assert list(figures(metrics, "stage_seconds_total")) == ["fit"]


def test_a_stage_alone_has_a_run_id_of_its_own() -> None:
    seen = []

    @watched("select", str)
    def select(_: RunSpec) -> str:
        seen.append(current()["run"])
        return ""

    select(SPEC)
    select(SPEC)
    assert len(set(seen)) == 2


def test_shards_are_counted_once_and_none_is_left_when_a_run_ends(metrics: Path) -> None:
    timings = Timings(read=1.0, decode=2.0, forward=3.0, write=4.0, first_read=0.0)
    fresh = ShardReceipt(Shard(0, 64), {"ok": 60, "quarantined": 3, "void": 1}, {"empty": 3}, timings, False, 1000, 2000)
    reused = ShardReceipt(Shard(64, 128), {"ok": 64}, {}, timings, True, 1000)
    with pytest.raises(RunError), watched_shards("photos", "lite0", 10) as done:  # noqa: PT012
        done(fresh)
        done(reused)
        assert figures(metrics, "shards_left") == {"": 8.0}
        assert current() == {"run": current()["run"], "dataset": "photos"}
        raise RunError
    assert figures(metrics, "shards_left") == {"": 0.0}
    assert figures(metrics, "images_total") == {"lite0 ok": 60.0, "lite0 quarantined": 3.0}
    assert figures(metrics, "quarantined_total") == {"empty": 3.0}
    assert figures(metrics, "read_bytes_total") == {"": 1000.0}
    assert figures(metrics, "written_bytes_total") == {"": 2000.0}
    assert figures(metrics, "extract_seconds_total") == {"read": 1.0, "decode": 2.0, "forward": 3.0, "write": 4.0}
