"""What is worth retrying: infrastructure, never a user's mistake."""

from __future__ import annotations

import asyncio

import pytest
from prefect.states import exception_to_failed_state

from tasks.stage import worth_retrying
from trunkline.errors import CorruptStore, DataError, LeaseLost, RunError, SourceError, StorageError, TooManyBadImages


@pytest.mark.parametrize(
    ("error", "retried"),
    [
        (RunError("lost with its worker"), True),
        (LeaseLost("taken over"), True),
        (OSError("connection reset"), True),
        (SourceError("missing"), False),
        (DataError("one class"), False),
        (TooManyBadImages("half of them"), False),
        (StorageError("disk full"), False),
        (CorruptStore("damaged"), False),
        (ZeroDivisionError("a bug"), False),
    ],
)
def test_only_infrastructure_is_retried(error: Exception, retried: bool) -> None:
    state = asyncio.run(exception_to_failed_state(error))
    assert worth_retrying(None, None, state) is retried
