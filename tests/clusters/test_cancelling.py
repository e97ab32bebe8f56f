"""A run that ends early on somebody else's workers: they stop within two batches, nothing is committed after it, and it can go on."""

from __future__ import annotations

import _thread
import threading
import time
from pathlib import Path

import pytest

from tests.clusters.processes import scheduler, worker
from tests.stores import empty_store, feature_set_in, images_in, spec_for
from trunkline import calls
from trunkline.clusters import Cluster
from trunkline.fan_out import DaskExecutor
from trunkline.maintenance.verify import verify
from trunkline.stages.extract import extract
from trunkline.stages.scan import scan

IMAGES = 128  # two shards, which a worker has at once
SLOW = """
import time
from pathlib import Path
from trunkline import runtimes

batches, slow = Path({batches!r}), Path({slow!r})

class Slow:
    def __init__(self, runtime):
        self.runtime = runtime
        self.fingerprint = runtime.fingerprint

    def run(self, pixels):
        with batches.open("a") as file:
            file.write("x")
        if slow.exists():
            time.sleep(1.0)
        return self.runtime.run(pixels)

if runtimes.load.__module__ == "trunkline.runtimes":  # Dask runs this file twice
    load = runtimes.load
    runtimes.load = lambda *how: Slow(load(*how))
"""


def working_on() -> int:
    """Calls of any map that this process works on."""
    return sum(calls._working.values())


def interrupted_after(batches: Path, count: int, seen: list[int]) -> threading.Thread:
    """Ctrl-C for this process when so many batches have begun."""

    def watch() -> None:
        deadline = time.monotonic() + 120
        while (now := batches.stat().st_size) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        seen.append(now)
        _thread.interrupt_main()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
def test_workers_stop_within_two_batches(tmp_path: Path, digits_folder: Path, compiled_lite0: Path):
    source, store = images_in(tmp_path / "images", digits_folder, IMAGES), empty_store(tmp_path / "store", compiled_lite0)
    batches, slow = tmp_path / "batches", tmp_path / "slow"
    batches.touch()
    slow.touch()
    before = SLOW.format(batches=str(batches), slow=str(slow))
    with scheduler(tmp_path) as address, worker(tmp_path, address, before=before):
        spec = spec_for(source, store, cluster={"kind": "address", "address": address, "patience": 60})
        scan(spec)
        with Cluster(spec.cluster) as cluster:
            assert isinstance(cluster.executor, DaskExecutor)
            client, at_the_signal = cluster.executor.client, list[int]()
            watching = interrupted_after(batches, 3, at_the_signal)
            with pytest.raises(KeyboardInterrupt):
                extract(spec, cluster)
            watching.join()
            (count,) = at_the_signal
            assert batches.stat().st_size - count <= 2
            assert set(client.run(working_on).values()) == {0}  # so nothing can come after this
            assert list((feature_set_in(store) / "commits").glob("*.parquet")) == []
            stopped = batches.stat().st_size
            slow.unlink()
            assert extract(spec, cluster).extracted == IMAGES
            assert batches.stat().st_size > stopped
            assert verify(str(store), cluster).findings == ()
