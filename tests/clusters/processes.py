"""A scheduler and workers as other people start them: `dask scheduler` and `dask worker`, each a process of its own on loopback."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.s3 import free_port
from tests.test_planned_failures import kill_group

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 120


@contextlib.contextmanager
def scheduler(folder: Path, *options: str, protocol: str = "tcp", port: int = 0) -> Iterator[str]:
    """Its address, when it says that it is there."""
    port = port or free_port()
    command = ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--protocol", protocol, "--no-dashboard", *options]
    with _started("scheduler", command, folder) as log:
        _wait_for("Scheduler at:", log)
        yield f"{protocol}://127.0.0.1:{port}"


@contextlib.contextmanager
def worker(
    folder: Path, address: str, *options: str, name: str = "worker", before: str = "", inside: Sequence[str] = ()
) -> Iterator[int]:
    """A worker of two threads, when it says that it is registered: its process id.

    Parameters
    ----------
    name : of the worker and of its files in the folder.
    before : Python that its process runs first.
    inside : a command that runs the worker's, in surroundings of its own.
    """
    command = ["worker", address, "--no-nanny", "--nthreads", "2", "--no-dashboard", "--name", name, "--death-timeout", "60"]
    if before:
        (folder / f"{name}_before.py").write_text(before)
        command += ["--preload", str(folder / f"{name}_before.py")]
    with _started(name, [*command, *options], folder, inside) as log:
        _wait_for("Registered to:", log)
        yield int((folder / f"{name}.pid").read_text())


@contextlib.contextmanager
def _started(name: str, command: Sequence[str], folder: Path, inside: Sequence[str] = ()) -> Iterator[Path]:
    scratch = folder / f"{name}-scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    settings = {"PYTHONPATH": path, "TMPDIR": str(scratch), "DASK_TEMPORARY_DIRECTORY": str(scratch)}
    log = folder / f"{name}.log"
    with (
        log.open("w") as out,
        subprocess.Popen(
            [*inside, sys.executable, "-m", "dask", *command],
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd=folder,
            env={**os.environ, **settings},
        ) as process,
    ):
        (folder / f"{name}.pid").write_text(str(process.pid))
        try:
            yield log
        finally:
            kill_group(process)


def _wait_for(words: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while words not in log.read_text():
        assert time.monotonic() < deadline, f"{log.name} never said {words!r}: {log.read_text()}"
        time.sleep(0.02)
