"""Libraries that only some ways of reading need: imported when asked for, and named where they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from trunkline.errors import UserError


def needed(module: str, install: str, method: str) -> Any:
    """The module. Raises UserError with the pip command where it is not installed.

    Parameters
    ----------
    module : to import, such as `dask.array`.
    install : what pip installs for it.
    method : of `Features`, that needs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"Features.{method}() needs a library that is not here ({error}): pip install '{install}'. "
            ".numpy() and .arrow() read without it."
        ) from error
