"""Manifests without a scan: listings compared and appended, rows added and removed."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from trunkline import drafts
from trunkline.comparison import Difference, compare
from trunkline.drafts import Draft
from trunkline.locations import Location
from trunkline.manifest import Manifest
from trunkline.sources import Listed
from trunkline.versions import Versions


def fresh() -> Manifest:
    """An empty one, in memory."""
    return Manifest.open(Location.of(f"memory://{uuid.uuid4().hex}/manifest"))


def compared(manifest: Manifest, listing: Iterable[Listed]) -> tuple[Difference, Manifest]:
    """What a listing changes, and the manifest with it."""
    with tempfile.TemporaryDirectory() as folder:
        draft = Draft(Path(folder), manifest)
        difference = compare(manifest, listing, draft)
        return difference, manifest.append(draft.finish(difference.removed, difference.successors))


def scanned(manifest: Manifest, listing: Iterable[Listed]) -> Manifest:
    return compared(manifest, listing)[1]


def appended(manifest: Manifest, added: Iterable[Listed] = (), removed: Sequence[int] = ()) -> Manifest:
    return drafts.append(manifest, added, np.array(removed, np.int64))


def say(versions: Versions, changed: Mapping[int, str | None]) -> bool:
    """Append these values of rows as the next version."""
    return versions.append(np.array(list(changed), np.int64), pa.array(list(changed.values()), pa.string()))


def said(versions: Versions, start: int, stop: int) -> list[str | None]:
    """The values of rows [start, stop)."""
    return versions.values(stop).of(np.arange(start, stop)).tolist()
