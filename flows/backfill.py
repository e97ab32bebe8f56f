"""A backfill in slices, each a flow run of its own: rows of a dataset under several recipes, from one decode of each image."""

from __future__ import annotations

from typing import Any

from prefect import flow

from trunkline.specs import BackfillSpec


@flow(name="backfill", persist_result=False)
def backfill(spec: BackfillSpec) -> dict[str, Any]:
    """Extract rows of a dataset under one recipe or several, slice by slice.

    Parameters
    ----------
    spec : which rows, which recipes, how far it may go.
    """
    raise NotImplementedError


@flow(name="backfill-slice", persist_result=False)
def backfill_slice(spec: BackfillSpec, first: int, stop: int) -> dict[str, Any]:
    """One slice of a backfill: rows [first, stop) under the spec's recipes.

    Parameters
    ----------
    spec : of the backfill.
    first : the first row.
    stop : the row after the last one.
    """
    raise NotImplementedError
