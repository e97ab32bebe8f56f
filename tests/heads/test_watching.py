"""Work that cannot do without its workers: given up when one is gone, whatever it waits for."""

from __future__ import annotations

import os

import pytest
from distributed import wait

from trunkline.clusters import Cluster
from trunkline.fan_out import workers_of
from trunkline.heads.watching import WorkerLostError, while_there
from trunkline.specs import ClusterSpec


def test_what_waits_for_a_worker_that_is_gone_is_woken_and_the_client_goes_on():
    with Cluster(ClusterSpec(kind="local", workers=1)) as cluster:
        client = cluster.executor.client
        (home,) = workers_of(client)

        def work() -> None:
            bound = client.submit(os._exit, 1, workers=[home], allow_other_workers=False, pure=False)
            after = client.submit(print, bound, pure=False)
            with client.as_current():
                wait([bound, after])

        with pytest.raises(WorkerLostError):
            while_there(work, [home], client)
        client.wait_for_workers(1, timeout=60)
        assert client.submit(sum, [1, 2]).result(timeout=60) == 3


def test_results_and_errors_come_as_they_are_while_all_workers_are_there():
    with Cluster(ClusterSpec(kind="local", workers=1)) as cluster:
        client = cluster.executor.client
        assert while_there(lambda: 5, list(workers_of(client)), client) == 5
        with pytest.raises(ZeroDivisionError):
            while_there(lambda: 1 // 0, list(workers_of(client)), client)
        with pytest.raises(WorkerLostError):
            while_there(lambda: 1 // 0, ["tcp://nobody:1"], client)
