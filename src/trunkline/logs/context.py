"""What is being worked on: run, dataset and shard, for every record that is logged meanwhile, in this process and on workers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, TypeVar

from trunkline.logs import outlet
from trunkline.shards import Shard

FIELDS = ("run", "dataset", "shard")

Job = TypeVar("Job")
Item = TypeVar("Item")
Receipt = TypeVar("Receipt")

_NOTHING: Mapping[str, str] = MappingProxyType({})
_known: ContextVar[Mapping[str, str]] = ContextVar("trunkline_about", default=_NOTHING)


@contextlib.contextmanager
def about(**known: str) -> Iterator[None]:
    """Records that are logged meanwhile in this context carry these: `run`, `dataset`, `shard`."""
    before = _known.set({**_known.get(), **known})
    try:
        yield
    finally:
        _known.reset(before)


def current() -> dict[str, str]:
    """What is being worked on in this context."""
    return dict(_known.get())


def carried(function: Callable[[Job, Item], Receipt]) -> Callable[[Job, Item], Receipt]:
    """The function with what is known here, wherever it is called; a shard that it works on is known there too."""
    return _Carried(function, current(), getattr(function, "__name__", "task"))


@dataclass(frozen=True)
class _Carried(Generic[Job, Item, Receipt]):
    function: Callable[[Job, Item], Receipt]
    known: Mapping[str, str]
    __name__: str = field(default="carried")  # Dask names tasks by it

    def __call__(self, job: Job, item: Item) -> Receipt:
        shard = {"shard": item.name} if isinstance(item, Shard) else {}
        try:
            with about(**{**self.known, **shard}):
                return self.function(job, item)
        finally:
            outlet.hand_over()


def with_context(record: logging.LogRecord) -> None:
    """Put what is known into a record; one that came from a worker has its own."""
    for name, value in _known.get().items():
        if not hasattr(record, name):
            setattr(record, name, value)
