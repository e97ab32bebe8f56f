"""What a run counts: into a file of its process, in the folder TRUNKLINE_METRICS_DIR. A folder that cannot be written never ends a run."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trunkline.telemetry.names import series

if TYPE_CHECKING:
    from trunkline.telemetry.folder import ProcessFile

FOLDER = "TRUNKLINE_METRICS_DIR"

log = logging.getLogger(__name__)


def add(name: str, amount: float = 1.0, **labels: str) -> None:
    """Add to a counter, or to a gauge of what is going on. Raises KeyError or ValueError for a metric or labels that are none."""
    key = series(name, labels)
    file = _file()
    if file is not None:
        file.write(key, lambda before: before + amount)


def raise_to(name: str, value: float, **labels: str) -> None:
    """Set a gauge whose highest value counts. Raises KeyError or ValueError for a metric or labels that are none."""
    key = series(name, labels)
    file = _file()
    if file is not None:
        file.write(key, lambda before: max(before, value))


def close() -> None:
    """Let go of the file; what is counted later goes into another."""
    global _opened
    with _opening:
        if _opened is not None and _opened.file is not None:
            _opened.file.close()
        _opened = None


@dataclass(frozen=True)
class _Opened:
    folder: str
    process: int
    file: ProcessFile | None


_opened: _Opened | None = None
_opening = threading.Lock()


def _file() -> ProcessFile | None:
    """This process's file, None where it cannot be written; another one after a fork, which must not write into its parent's."""
    global _opened
    folder = os.environ.get(FOLDER)
    if not folder:
        return None
    with _opening:
        if _opened is None or (_opened.folder, _opened.process) != (folder, os.getpid()):
            _opened = _Opened(folder, os.getpid(), _made(Path(folder)))
        return _opened.file


def _made(folder: Path) -> ProcessFile | None:
    from trunkline.telemetry.folder import ProcessFile, absorb

    try:
        folder.mkdir(parents=True, exist_ok=True)
        absorb(folder)
        return ProcessFile(folder)
    except OSError as error:
        log.warning("Nothing is counted for Prometheus: %s cannot be written (%s). Check %s.", folder, error, FOLDER)
        return None
