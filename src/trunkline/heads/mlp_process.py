"""The process that has TensorFlow, seen from the one that has not: orders go in, Keras files come out.

It is started for the first order and ends when none has come for a while, so that several fits start TensorFlow once and its gigabyte is
given back afterwards. What goes through the pipe is pickled, between these two processes alone.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import IO, Any

from trunkline.errors import DataError, RunError
from trunkline.heads.mlp_training import Fitted, Order

WORDS_OF_ITS_END = 2000
IDLE_SECONDS = 20.0  # without an order it ends, and gives TensorFlow's memory back

_lock = threading.Lock()
_running: list[_Process] = []


def fitted_elsewhere(order: Order, say: Callable[[dict[str, Any]], None]) -> Fitted:
    """Fit in the other process.

    Parameters
    ----------
    say : told of each epoch: `epoch`, `of`, `loss`.

    Raises
    ------
    DataError : the fit diverged.
    RunError : the process died.
    """
    with _lock:
        if not _running or _running[0].has_ended:
            end()
            _running.append(_Process())
        try:
            return _running[0].fitted(order, say)
        except BaseException as error:
            if not isinstance(error, DataError):  # it may be in the middle of an answer
                end()
            raise


def end() -> None:
    """End the process, if there is one."""
    for each in _running:
        each.end()
    _running.clear()


atexit.register(end)


class _Process:
    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        environment = {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": os.pathsep.join(each for each in sys.path if each),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trunkline.heads.mlp_training", str(IDLE_SECONDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
        )

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def fitted(self, order: Order, say: Callable[[dict[str, Any]], None]) -> Fitted:
        content = pickle.dumps(order)
        orders, answers = self._pipes
        try:
            orders.write(len(content).to_bytes(8, "little") + content)
            orders.flush()
        except BrokenPipeError as error:
            raise self._died() from error
        while line := answers.readline():
            said = json.loads(line)
            content = answers.read(said.pop("bytes"))
            if "diverged" in said:
                raise DataError(
                    f"The MLP diverged {said['diverged']} with a learning rate of {order.spec.learning_rate[0]:g}: its loss is no number "
                    "any more, so there is nothing to keep. Lower head.learning_rate."
                )
            if "done" in said:
                return Fitted(content, **said["done"])
            say(said)
        raise self._died()

    def end(self) -> None:
        for pipe in self._pipes:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._process.kill()
        self._process.wait()
        self._errors.close()

    @property
    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._process.stdin
        assert self._process.stdout
        return self._process.stdin, self._process.stdout

    def _died(self) -> RunError:
        status = self._process.wait()
        self._errors.seek(0)
        words = self._errors.read()[-WORDS_OF_ITS_END:].decode(errors="replace").strip()
        return RunError(
            f"The process that fits the MLP ended with status {status}: {words or 'it said nothing'}. Did memory run out? Start the same "
            "command again; candidates that were compared are kept."
        )
