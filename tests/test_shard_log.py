"""What an extraction says of its shards: one line for all bad images of a shard, and the bytes that went through it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.stores import empty_store, images_in, spec_for
from trunkline.clusters import Cluster
from trunkline.logs import current
from trunkline.stages.extract import extract
from trunkline.stages.scan import scan
from trunkline.telemetry import counting
from trunkline.telemetry.folder import collect
from trunkline.telemetry.names import series


class Shards(logging.Handler):
    """What is known to be worked on while each record is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append((record.getMessage(), current()))


def test_bad_images_of_a_shard_are_one_line_with_examples(
    tmp_path: Path, digits_folder: Path, compiled_lite0: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUNKLINE_METRICS_DIR", str(tmp_path / "metrics"))
    source = images_in(tmp_path / "images", digits_folder, 60)
    for number in range(10):
        (source / "0" / f"broken-{number}.png").write_bytes(b"")
    spec = spec_for(source, empty_store(tmp_path / "store", compiled_lite0), max_bad_fraction=0.5)
    scan(spec)
    log, handler = logging.getLogger("trunkline"), Shards()
    before = log.level
    log.setLevel(logging.DEBUG)
    log.addHandler(handler)
    try:
        with Cluster(spec.cluster) as cluster:
            receipt = extract(spec, cluster)
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
    assert dict(receipt.reasons) == {"empty": 10}
    ((words, known),) = [(words, known) for words, known in handler.seen if "quarantined, such as" in words]
    assert words.startswith("10 of 64 rows of shard 000000000000 are quarantined, such as 0/broken-0.png: empty, zero bytes; ")
    assert words.count(": empty") == 3
    assert (known["dataset"], known["shard"]) == ("digits", "000000000000")
    committed = [known["shard"] for words, known in handler.seen if " is committed: " in words]
    assert committed == ["000000000000", "000000000064"]
    assert handler.seen[-1][0].endswith(" s: 70 extracted, 0 from before; 60 ok, 10 quarantined (10 empty), 0 pending")
    counting.close()
    counted = collect(tmp_path / "metrics")
    assert counted[series("trunkline_read_bytes_total", {"dataset": "digits"})] == sum(
        path.stat().st_size for path in source.rglob("*.png")
    )
    assert counted[series("trunkline_written_bytes_total", {"dataset": "digits"})] == 70 * 1280 * 4
