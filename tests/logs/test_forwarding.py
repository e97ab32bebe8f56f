"""What real Dask workers log arrives in this process, with its shard, once, and only what is about this run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from trunkline.clusters import Cluster
from trunkline.logs import about
from trunkline.logs.forwarding import _receiver
from trunkline.shards import Shard
from trunkline.specs import ClusterSpec

SHARDS = [Shard(0, 64), Shard(64, 128), Shard(128, 192)]


def whisper(job: int, shard: Shard) -> int:
    log = logging.getLogger("trunkline.whisper")
    log.debug("Nobody asked for this")
    log.info("Shard %s at s3://user:hunter22@bucket", shard.name, extra={"unknown": object()})
    for number in range(job):
        log.info("Bad image %d", number)
    try:
        raise ValueError("a reason")
    except ValueError:
        log.exception("It went wrong")
    logging.getLogger("distributed.worker").warning("Memory is short")
    logging.getLogger("elsewhere").error("Not forwarded")
    return shard.start


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler = Kept()
    loggers = [logging.getLogger(name) for name in ("trunkline", "distributed", "elsewhere")]
    before = loggers[0].level
    loggers[0].setLevel(logging.INFO)
    for logger in loggers:
        logger.addHandler(handler)
    yield handler
    for logger in loggers:
        logger.removeHandler(handler)
    loggers[0].setLevel(before)


def test_workers_records_arrive_with_their_shard(kept: Kept) -> None:
    with about(run="r1", dataset="photos"), Cluster(ClusterSpec(kind="local", workers=1)) as cluster:
        assert sorted(cluster.executor.map(whisper, 100, SHARDS)) == [0, 64, 128]
    mine = [each for each in kept.records if each.name == "trunkline.whisper"]
    seen = {each.shard: each for each in mine if each.getMessage().startswith("Shard")}
    assert {each.getMessage() for each in seen.values()} == {f"Shard {shard.name} at s3://bucket" for shard in SHARDS}
    assert set(seen) == {shard.name for shard in SHARDS}
    assert {(each.run, each.dataset, each.template) for each in seen.values()} == {("r1", "photos", "Shard %s at s3://bucket")}
    assert all(each.worker.startswith("tcp://127.0.0.1:") for each in mine)
    assert not any("Nobody asked" in each.getMessage() for each in mine)
    wrong = [each for each in mine if each.levelno == logging.ERROR]
    assert [each.exc_text.splitlines()[-1] for each in wrong] == ["ValueError: a reason"] * 3
    others = [(each.name, each.getMessage()) for each in kept.records if each.name in ("distributed.worker", "elsewhere")]
    assert others == [("distributed.worker", "Memory is short")] * 3
    bad = [each for each in mine if "Bad image" in each.getMessage()]
    assert len([each for each in bad if not hasattr(each, "held_back")]) == 20
    assert sum(getattr(each, "held_back", 1) for each in bad) == 300


def test_records_of_other_runs_on_the_same_scheduler_stay_out(kept: Kept) -> None:
    import contextvars

    receive = _receiver(contextvars.copy_context(), "r1")
    for run in ("r1", "r2", None):
        record: dict[str, Any] = {"name": "trunkline.x", "msg": f"of {run}", "levelno": logging.INFO, "args": None}
        receive((0.0, record | ({"run": run} if run else {})))
    assert [each.getMessage() for each in kept.records] == ["of r1", "of None"]


class Broken:
    def subscribe_topic(self, *_: object) -> None:
        raise RuntimeError("No module named 'trunkline'")


def test_a_scheduler_that_cannot_forward_does_not_end_the_run(kept: Kept) -> None:
    from trunkline.logs.forwarding import follow_workers

    follow_workers(Broken())
    assert [each.getMessage() for each in kept.records] == [
        "What workers log does not arrive here, look at their own logs: No module named 'trunkline'"
    ]
