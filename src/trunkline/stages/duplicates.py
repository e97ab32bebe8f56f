"""Which features of a layer duplicate an earlier one, found with the workers where there is much to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trunkline import gram
from trunkline.clusters import Cluster
from trunkline.fan_out import Executor, SerialExecutor
from trunkline.gram import GramJob
from trunkline.moments import Moments
from trunkline.progress import Progress, Step
from trunkline.reader import Features
from trunkline.variance_filter import LayerMask, without_duplicates

BYTES_FOR_WORKERS = 256 * 2**20  # starting workers takes longer than going through less


@dataclass(frozen=True)
class DuplicateSearch:
    """Of features that correlate by at least so much, over these training rows; workers are started only if it is worth it."""

    features: Features
    rows: NDArray[np.int64]
    at_least: float
    cluster: Cluster | None
    progress: Progress

    def without_duplicates(self, layers: Mapping[str, LayerMask], moments: Mapping[str, Moments]) -> dict[str, LayerMask]:
        """The masks, layer by layer, less what duplicates an earlier feature that is kept."""
        executor = self._executor()
        return {layer: self._of_layer(layer, mask, moments[layer], executor) for layer, mask in layers.items()}

    def _executor(self) -> Executor:
        layout = self.features.feature_set.layout
        size = len(self.rows) * sum(layout.dims.values()) * np.dtype(layout.dtype).itemsize
        return self.cluster.executor if self.cluster is not None and size > BYTES_FOR_WORKERS else SerialExecutor()

    def _of_layer(self, layer: str, mask: LayerMask, moments: Moments, executor: Executor) -> LayerMask:
        kept, stored = mask.kept, self.features.feature_set
        job = GramJob(stored.location, stored.layout, layer, kept, moments.mean[kept], np.sqrt(moments.variance[kept]))
        found = gram.correlations(job, self.rows, executor, lambda done: self._say(done, layer))
        return without_duplicates(mask, gram.duplicates(found, kept, self.at_least))

    def _say(self, done: int, layer: str) -> None:
        self.progress(Step("compare", done, len(self.rows), layer))
