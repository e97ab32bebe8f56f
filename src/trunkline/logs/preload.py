"""For schedulers and workers that stand alone: `dask worker --preload trunkline.logs.preload` writes their log as asked for."""

from __future__ import annotations

import logging
from typing import Any

from trunkline.logs.setup import configure


def dask_setup(_service: Any) -> None:
    """Dask calls it in the process of a scheduler, nanny or worker that preloads this module."""
    configure(logging.INFO, text=False)
