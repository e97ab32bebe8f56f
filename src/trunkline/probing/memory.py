"""What comparing networks will hold in memory, judged before the first image is read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trunkline.errors import DataError
from trunkline.fan_out import SHARDS_PER_WORKER_AT_ONCE
from trunkline.machine import available_memory
from trunkline.probing.measuring import PIECE, Prepared
from trunkline.probing.probe import FOLDS
from trunkline.projection import KEPT_BYTES, PROCESS_BYTES
from trunkline.wording import in_bytes

FLOAT32, FLOAT64 = 4, 8
COPIES = 4  # of the widest cut's features while it is scored: standardised, centred, and products of both
MATRICES = FOLDS + 4  # of its width squared: a Gram matrix a fold, a covariance, an eigendecomposition


def driver_bytes(networks: Sequence[Prepared], images: int) -> int:
    """Features of the whole sample at all cuts, pieces and joined, and the work on the widest one."""
    every = sum(sum(network.backbone.dims.values()) for network in networks)
    widest = max(max(network.backbone.dims.values()) for network in networks)
    return 2 * images * every * FLOAT32 + FLOAT64 * (COPIES * images * widest + MATRICES * widest**2)


def worker_bytes(networks: Sequence[Prepared], in_flight: int) -> int:
    """A process with all networks loaded, and two pieces at once: squares of each size, and their features."""
    files = sum((network.backbone.location / network.backbone.files).size() for network in networks)
    squares = sum(3 * each.backbone.size**2 * np.dtype(each.backbone.pixels).itemsize for each in networks)
    vectors = sum(sum(network.backbone.dims.values()) for network in networks) * FLOAT32
    pieces = SHARDS_PER_WORKER_AT_ONCE * PIECE * (2 * squares + vectors)
    return PROCESS_BYTES + KEPT_BYTES + 2 * files + pieces + in_flight


def refuse_what_does_not_fit(
    networks: Sequence[Prepared], images: int, workers: int, in_flight: int, available: int | None = None
) -> None:
    """Raises DataError where driver and workers need more than this machine has; `available` bytes, asked of the kernel by default."""
    available = available_memory() if available is None else available
    driver, worker = driver_bytes(networks, images), worker_bytes(networks, in_flight)
    needed = driver + workers * worker
    if available is None or needed <= available:
        return
    raise DataError(
        f"Comparing {len(networks)} networks on {images:,} images would hold {in_bytes(needed)} ({in_bytes(driver)} for their features and "
        f"scores, {in_bytes(worker)} for each of {workers} workers), and {in_bytes(available)} of memory are available: the system would "
        "kill it on the way. Compare fewer --backbones at once, or use a smaller --sample or fewer --workers."
    )
