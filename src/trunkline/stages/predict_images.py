"""Predict images that no store knows: prepared and extracted by the recipe of a feature set, which is only read."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from trunkline import runtimes
from trunkline.backbones.compiled import Compiled
from trunkline.engine import chosen
from trunkline.errors import DataError
from trunkline.exporting.placing import placed, refuse_wrong_place
from trunkline.heads.opening import OpenHead
from trunkline.locations import Location
from trunkline.predictor import answer_files
from trunkline.predictor.answers import counts_of
from trunkline.predictor.new_images import NewImage, extracted
from trunkline.progress import Progress, Step, silent
from trunkline.reader import Features
from trunkline.sources import IMAGE_SUFFIXES, Source, source_of
from trunkline.specs import ColumnsSpec, EngineSpec, RunSpec
from trunkline.stages.predict import SHOWN, backbone_of, head_of, said_of

LISTED = 100  # unreadable images in a receipt; a file lists all


@dataclass(frozen=True)
class ImagesReceipt:
    """What was predicted for new images: `unreadable` ones by reason, `bad` up to a hundred of them; `out` is '' without a file."""

    out: str
    head: str
    images: int
    predicted: int
    unreadable: Mapping[str, int]
    counts: Mapping[str, int]
    first: Sequence[Mapping[str, Any]]
    bad: Sequence[Mapping[str, str]]
    images_per_second: float
    seconds: float


def predict_images(
    uri: str,
    images: str,
    head: str | None = None,
    out: str | None = None,
    *,
    dataset: str | None = None,
    source_kind: str = "auto",
    columns: ColumnsSpec | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> ImagesReceipt:
    """Predict images that the store does not know, prepared and extracted by the feature set's recipe; the store is only read.

    Parameters
    ----------
    uri, head, dataset : as in `head_of`.
    images : one image, or any source: folder, glob, table, tars, Parquet with image bytes.
    out : a .csv, .json or .parquet file for the answers; none by default.
    source_kind, columns : as in a spec.

    Raises
    ------
    As `head_of`; SourceError for a source that cannot be listed or is empty; SpecError for a wrong `out`.
    StoreError : the compiled backbone is gone from the store.
    """
    started = time.monotonic()
    suffix = answer_files.suffix_in(out) if out else ""
    features, opened = head_of(uri, head, dataset)
    store = Location(features.uri.rsplit("/", 3)[0])
    if out:
        refuse_wrong_place([Location.of(out)], store, overwrite)
    source = _source(images, source_kind, columns or ColumnsSpec())
    source.check()
    backbone, runtime = backbone_of(features)
    progress(Step("predict", 0, None, "loading the backbone"))
    seen = _Seen(opened)
    with contextlib.ExitStack() as stack:
        file = None
        if out:
            (path,) = stack.enter_context(placed([Location.of(out)]))
            file = stack.enter_context(answer_files.opened(path, suffix, opened.target, said_of(features, opened)))
        for block in _blocks(source, backbone, features, opened, runtime):
            table = seen.add(block)
            if file:
                file.write(table)
            progress(Step("predict", seen.images, None, f"{seen.bad_count} unreadable" if seen.bad_count else ""))
        if not seen.images:
            raise DataError(f"{source.root} lists no image, so there is nothing to predict. Check the path and its suffixes.")
    progress(Step("predict", seen.images, seen.images))
    return seen.receipt(Location.of(out).uri if out else "", time.monotonic() - started)


def _source(images: str, kind: str, columns: ColumnsSpec) -> Source:
    """One image is a glob without wildcards."""
    alone = kind == "auto" and os.path.splitext(images)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 (it may be a URL)
    said = {"source": images, "store": "/nowhere", "source_kind": "glob" if alone else kind, "columns": columns}
    return source_of(RunSpec.model_validate(said))


def _blocks(source: Source, backbone: Compiled, features: Features, head: OpenHead, runtime: str) -> Iterator[list[NewImage]]:
    cores = len(os.sched_getaffinity(0))
    engine = chosen(EngineSpec(), backbone, runtime=runtime, workers=1, threads=cores, local_source=source.is_local)
    loaded = runtimes.load(runtime, backbone, cores)
    few = extracted(source, backbone, features.recipe, head.layer, loaded, engine)
    while some := list(itertools.islice(few, max(1, engine.images_ahead // backbone.batch))):
        yield list(itertools.chain.from_iterable(some))


class _Seen:
    """What came so far: counts, the first answers, the first unreadable images."""

    def __init__(self, head: OpenHead) -> None:
        self._head, self._started = head, time.monotonic()
        self._counts = np.zeros(head.target.outputs, np.int64)
        self._first: list[dict[str, Any]] = []
        self._bad: list[dict[str, str]] = []
        self._reasons: Counter[str] = Counter()
        self.images = 0

    @property
    def bad_count(self) -> int:
        return self._reasons.total()

    def add(self, block: list[NewImage]) -> pa.Table:
        target = self._head.target
        held = [image.features for image in block if image.features is not None]
        outputs = self._head.outputs(np.stack(held)) if held else np.empty((0, target.outputs))
        table = answer_files.table_of(target, block, outputs)
        bad = [image for image in block if image.features is None]
        self.images += len(block)
        self._counts += counts_of(target, outputs) if len(outputs) else 0
        self._reasons.update(image.reason for image in bad)
        named = [{"id": image.id, "reason": image.reason, "detail": image.detail} for image in bad]
        self._bad += named[: LISTED - len(self._bad)]
        if len(self._first) < SHOWN:
            readable = [row for row in table.slice(0, 4 * SHOWN).to_pylist() if not row["reason"]]
            self._first += readable[: SHOWN - len(self._first)]
        return table

    def receipt(self, out: str, seconds: float) -> ImagesReceipt:
        target = self._head.target
        counts = {} if target.kind == "regression" else dict(zip(target.names, self._counts.tolist(), strict=True))
        return ImagesReceipt(
            out=out,
            head=self._head.name,
            images=self.images,
            predicted=self.images - self.bad_count,
            unreadable=dict(self._reasons),
            counts={name: count for name, count in counts.items() if count},
            first=self._first,
            bad=self._bad,
            images_per_second=self.images / max(time.monotonic() - self._started, 1e-9),
            seconds=seconds,
        )
