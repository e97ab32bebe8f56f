"""A flow for tests of the Prefect worker: where its runs find themselves."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from prefect import flow


@flow(persist_result=False)
def where() -> None:
    """Fails unless it runs in the checkout, with its packages and the stack's environment."""
    assert Path("infra/compose.yaml").exists(), Path.cwd()
    for name in ("trunkline", "tasks", "flows"):
        assert Path(str(import_module(name).__file__)).is_relative_to(Path.cwd()), name
    assert os.environ["TRUNKLINE_DASK_SCHEDULER"].startswith("tcp://127.0.0.1:")
    assert os.environ["TRUNKLINE_STORE"] == "s3://trunkline/features"
