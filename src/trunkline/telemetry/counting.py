"""What a run counts: into a file of its process, in the folder TRUNKLINE_METRICS_DIR. A folder that cannot be written never ends a run."""

from __future__ import annotations

import logging
import os
from functools import lru_cache
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


def _file() -> ProcessFile | None:
    folder = os.environ.get(FOLDER)
    return _opened(folder, os.getpid()) if folder else None  # by process, as a fork must not write into its parent's


@lru_cache(maxsize=4)
def _opened(folder: str, _process: int) -> ProcessFile | None:
    from trunkline.telemetry.folder import ProcessFile, absorb

    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        absorb(Path(folder))
        return ProcessFile(Path(folder))
    except OSError as error:
        log.warning("Nothing is counted for Prometheus: %s cannot be written (%s). Check %s.", folder, error, FOLDER)
        return None
