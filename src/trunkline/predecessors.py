"""Features that need not be computed again: those of the same bytes under an earlier row, before a rename or a touched date."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.blocks import Status, feature_digest
from trunkline.errors import CorruptStore
from trunkline.manifest import Manifest
from trunkline.store.commits import Commit
from trunkline.store.feature_set import FeatureSet

RECORDS_KEPT = 16


class Predecessors:
    """The rows that others took the place of, as far as this feature set has them."""

    def __init__(self, features: FeatureSet, manifest: Manifest) -> None:
        self._features, self._manifest = features, manifest
        self._commit = lru_cache(RECORDS_KEPT)(self._read)

    def features_of(self, row: int, sha256: str) -> Mapping[str, NDArray[np.float32]] | None:
        """Layer → (dim,) of the nearest predecessor that was extracted, if it had these very bytes; else None."""
        earlier = self._manifest.predecessor(row)
        while earlier is not None:
            line = self._line(earlier)
            if line is not None and line["status"] == Status.OK:  # else it was removed before it was read, or could not be
                return self._copied(line, earlier, sha256)
            earlier = self._manifest.predecessor(earlier)
        return None

    def _line(self, row: int) -> Mapping[str, Any] | None:
        """What the commit record says of a row; None where there is none."""
        commit = self._commit(self._shard_of(row))
        return None if commit is None else commit.table.slice(row - commit.shard.start, 1).to_pylist()[0]

    def _copied(self, line: Mapping[str, Any], row: int, sha256: str) -> Mapping[str, NDArray[np.float32]] | None:
        if line["sha256"] != sha256:
            return None
        try:
            found = {layer: self._features.arrays.read(layer, row, row + 1)[0] for layer in self._features.layout.dims}
        except CorruptStore:
            return None
        return found if feature_digest(list(found.values())) == line["feature"] else None

    def _shard_of(self, row: int) -> str:
        batch = next(each for each in self._manifest.batches if each.start <= row < each.stop)
        size = self._features.layout.rows_per_shard
        return f"{batch.start + (row - batch.start) // size * size:012d}"

    def _read(self, shard: str) -> Commit | None:
        try:
            return self._features.commits.read(shard)
        except (FileNotFoundError, CorruptStore):
            return None
