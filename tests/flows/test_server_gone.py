"""Prefect's server gone during a run: the work goes on, and the run ends when the server is back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.deployed import Server, deployed, until
from tests.flows.test_deployed import commits, is_clean, many_in, spec_of
from tests.stores import empty_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_run_outlives_its_server(tmp_path: Path, digits_folder: Path, compiled_lite0: Path) -> None:
    store = empty_store(tmp_path / "store", compiled_lite0)
    source = many_in(tmp_path / "many", digits_folder, 12)
    server = Server.below(tmp_path)
    server.start()
    try:
        with deployed(server.environment, tmp_path) as there:
            run = there.start("pipeline", spec=spec_of(source, store, labels="none"))
            until(lambda: len(commits(store)) >= 2, "two shards are committed")
            server.kill()
            seen = len(commits(store))
            until(lambda: len(commits(store)) >= seen + 12, "a dozen shards more are committed without a server")
            server.start()
            ended = there.ended(run)
            assert ended["state_name"] == "Completed"
            assert ended["name"] == "many through efficientnet-lite0: 3,600 extracted of 3,600 images"
            assert len(commits(store)) == 57
            is_clean(store)
    finally:
        server.kill()
