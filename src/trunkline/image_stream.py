"""Rows of a manifest to images on their way: each read once, and decoded once, for all the recipes that want it; ahead, by threads."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trunkline import images
from trunkline.blocks import RowRecord, Status
from trunkline.engine import Budget, Engine
from trunkline.errors import UnreadableImage
from trunkline.sources import Source
from trunkline.specs import Recipe

Known = Callable[[int, str], Mapping[str, NDArray[np.float32]] | None]


@dataclass(frozen=True)
class Image:
    """One row under one recipe: pixels, or features that are known already, or why there are none.

    `read_seconds` and `decode_seconds` are this recipe's equal share of what was spent for all of them.
    """

    record: RowRecord
    pixels: NDArray[Any] | None
    read_seconds: float
    decode_seconds: float
    features: Mapping[str, NDArray[np.float32]] | None = None


class ImageStream:
    """What a process reads images with.

    Parameters
    ----------
    source : of the dataset.
    engine : its `readers`, `images_ahead` and `in_flight_bytes` are heeded.
    recipes : how images become pixels.
    known : for each recipe, (row, SHA-256) → layer: features that need not be computed again, or None.
    """

    def __init__(self, source: Source, engine: Engine, recipes: Sequence[Recipe], known: Sequence[Known]) -> None:
        self._source, self._engine, self._recipes, self._known = source, engine, recipes, known
        self._budget = Budget(engine.in_flight_bytes)

    @cached_property
    def readers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._engine.readers, "reader")

    def of(self, rows: pa.Table, wanted: Sequence[Sequence[int]]) -> Iterator[Mapping[int, Image]]:
        """For each row that any recipe wants, in row order: recipe's number → image.

        Parameters
        ----------
        rows : the manifest's lines, with `removed`.
        wanted : for each of them, the numbers of the recipes that want it.
        """
        ahead: deque[Future[list[Mapping[int, Image]]]] = deque()
        some = max(1, self._engine.images_ahead // (4 * self._engine.readers))
        for start in range(0, len(rows), some):
            lines, wants = rows.slice(start, some), wanted[start : start + some]
            if not any(wants):
                continue
            ahead.append(self.readers.submit(self._load_some, lines.to_pylist(), wants))
            if len(ahead) * some >= self._engine.images_ahead:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()

    def _load_some(self, rows: Sequence[Mapping[str, Any]], wanted: Sequence[Sequence[int]]) -> list[Mapping[int, Image]]:
        return [self.load(row, wants) for row, wants in zip(rows, wanted, strict=True) if wants]

    def load(self, row: Mapping[str, Any], wanted: Sequence[int]) -> Mapping[int, Image]:
        """One row: recipe's number → image."""
        record = RowRecord(row["row"], row["id"], row["version"], Status.OK)
        if row["removed"]:
            void = record._replace(status=Status.VOID, detail="removed before it was read")
            return dict.fromkeys(wanted, Image(void, None, 0.0, 0.0))
        started = time.perf_counter()
        try:
            content = self._source.read(record.id, record.version, row["place"])
        except UnreadableImage as error:
            return dict.fromkeys(wanted, Image(_quarantined(record, error), None, 0.0, 0.0))
        read = (time.perf_counter() - started) / len(wanted)
        record = record._replace(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
        found: dict[int, Image] = {}
        for number in wanted:
            if known := self._known[number](record.row, record.sha256):
                found[number] = Image(record, None, read, 0.0, known)
        new = [number for number in wanted if number not in found]
        return found | self._decoded(content, record, new, read) if new else found

    def _decoded(self, content: bytes, record: RowRecord, wanted: Sequence[int], read: float) -> dict[int, Image]:
        cpu = time.thread_time()
        recipes = [self._recipes[number] for number in wanted]
        distinct = {images.preparation(recipe): recipe for recipe in recipes}.values()
        with self._budget.held(len(content) + max(images.decoded_bytes(content, recipe) for recipe in distinct)):
            loaded = images.load_each(content, recipes)
        decode = (time.thread_time() - cpu) / len(wanted)
        return {
            number: Image(_quarantined(record, each), None, read, decode)
            if isinstance(each, UnreadableImage)
            else Image(record, each, read, decode)
            for number, each in zip(wanted, loaded, strict=True)
        }


def _quarantined(record: RowRecord, error: UnreadableImage) -> RowRecord:
    return record._replace(status=Status.QUARANTINED, reason=error.reason, detail=error.detail[:300])
