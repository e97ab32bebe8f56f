"""The process that trains, seen from the one that asked for it. TensorFlow's gigabytes end with it, and it ends with its parent.

What goes through the pipe is pickled, between these two processes alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
from typing import IO, Any, cast

from trunkline import errors
from trunkline.errors import RunError, TrunklineError
from trunkline.finetuning.job import Job
from trunkline.progress import Progress, Step

WORDS_OF_ITS_END = 2000


def trained_elsewhere(job: Job, progress: Progress) -> dict[str, Any]:
    """Do the job in a process of its own; what `lineage.json` says afterwards.

    Raises
    ------
    TrunklineError : what the training raises.
    RunError : the process died; checkpoints are kept.
    """
    with tempfile.TemporaryFile() as words:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
        process = subprocess.Popen(
            [sys.executable, "-m", "trunkline.finetuning.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=words,
            env=environment,
        )
        try:
            with contextlib.suppress(BrokenPipeError):
                _send(cast("IO[bytes]", process.stdin), job)
            for line in cast("IO[bytes]", process.stdout):
                said = json.loads(line)
                if "step" in said:
                    progress(Step(**said["step"]))
                elif "failed" in said:
                    raise _error(**said["failed"])
                else:
                    return dict(said["lineage"])
            status = process.wait()
            words.seek(0)
            last = words.read()[-WORDS_OF_ITS_END:].decode(errors="replace").strip()
            raise RunError(
                f"The process that trains ended with status {status}: {last or 'it said nothing'}. Did memory run out? Start the same "
                "command again: it goes on from the last checkpoint. A smaller tune.batch or preparation.size needs less memory."
            )
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(BrokenPipeError):
                    cast("IO[bytes]", pipe).close()


def _send(orders: IO[bytes], job: Job) -> None:
    """The pipe stays open: its end tells the process that nobody waits for it any more."""
    content = pickle.dumps(job)
    orders.write(len(content).to_bytes(8, "little") + content)
    orders.flush()


def _error(kind: str, words: str) -> TrunklineError:
    """An error of trunkline's own tree, by its name."""
    found = getattr(errors, kind, RunError)
    known = isinstance(found, type) and issubclass(found, TrunklineError)
    return cast("TrunklineError", (found if known else RunError)(words))
