"""Golden vectors: what the reference computes on fixed images, checked by each worker before its first shard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import GoldenMismatch

MIN_COSINES = {"f32": 0.9999, "bf16": 0.95, "mixed_float16": 0.999}  # by precision; a wrong network is far below any of them


LEAST_IMAGES = 8

Run = Callable[[NDArray[Any]], Mapping[str, Any]]


def golden_pixels(size: int, batch: int) -> NDArray[np.uint8]:
    """Fixed images: waves of many lengths and directions, so that every channel has something to see.

    Returns
    -------
    (n, size, size, 3) uint8, whole batches, at least 8 images.
    """
    count = batch * -(-LEAST_IMAGES // batch)
    y, x = np.mgrid[0:size, 0:size].astype(np.float64) / size
    images = []
    for number in range(count):
        angle, waves = np.pi * number / count, 1.0 + number
        along = x * np.cos(angle) + y * np.sin(angle)
        channels = [np.sin(2.0 * np.pi * (waves * along + phase)) for phase in (0.0, 1.0 / 3.0, 2.0 / 3.0)]
        images.append(np.rint(127.5 + 127.5 * np.stack(channels, axis=-1)).astype(np.uint8))
    return np.stack(images)


def check(
    computed: Mapping[str, NDArray[np.float32]],
    expected: Mapping[str, NDArray[np.float32]],
    what: str,
    precision: str = "f32",
) -> float:
    """The lowest cosine between computed and expected rows, over all layers.

    Raises
    ------
    GoldenMismatch : it is below the least of the precision (0.9999 in f32), or a value is not finite.
    """
    least = MIN_COSINES[precision]
    lowest = float(np.min([cosines(computed[layer], expected[layer]).min() for layer in expected]))  # NaN stays NaN
    if not lowest >= least:
        raise GoldenMismatch(
            f"{what} does not compute what its reference computed when it was compiled: lowest cosine {lowest:.6f}, at least "
            f"{least} is needed in {precision}. Its features would be wrong. Delete the folder, so that it is compiled anew; if it "
            "stays, the installed runtime miscomputes on this processor."
        )
    return lowest


def cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosine of each pair of rows, (n,) float64; rows that are both zero count as equal."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    both_zero = ~a.any(axis=1) & ~b.any(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(both_zero, 1.0, np.einsum("ij,ij->i", a, b) / norms)


def in_batches(run: Run, pixels: NDArray[Any], batch: int) -> dict[str, NDArray[np.float32]]:
    """What `run`, which takes `batch` images at a time, makes of a whole number of batches: layer → (n, dim)."""
    parts = [run(pixels[start : start + batch]) for start in range(0, len(pixels), batch)]
    return {layer: np.concatenate([np.asarray(part[layer], np.float32) for part in parts]) for layer in parts[0]}
