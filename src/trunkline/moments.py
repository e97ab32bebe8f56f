"""Moments of features: count, mean, M2, min, max, non-zeros, mergeable over shards.

Source of the merge: T. Chan, G. Golub, R. LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample
Variances" (1979).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline import npz
from trunkline.errors import CorruptStore
from trunkline.locations import Location

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Of `count` rows, per feature: each (dim,) float64; `m2` is the sum of squared deviations from the mean."""

    count: int
    mean: Vector
    m2: Vector
    min: Vector
    max: Vector
    nonzeros: Vector

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> Moments:
        """Of a block, (n, dim), computed in float64 from the stored values; n may be 0."""
        x = features.astype(np.float64)
        if not len(x):
            dim = features.shape[1]
            return cls(0, np.zeros(dim), np.zeros(dim), np.full(dim, np.inf), np.full(dim, -np.inf), np.zeros(dim))
        mean = x.mean(axis=0)
        m2 = np.square(x - mean).sum(axis=0)
        return cls(len(x), mean, m2, x.min(axis=0), x.max(axis=0), np.count_nonzero(x, axis=0).astype(np.float64))

    def merge(self, other: Moments) -> Moments:
        """Of both sets of rows together."""
        count = self.count + other.count
        if not self.count or not other.count:
            return self if self.count else other
        delta = other.mean - self.mean
        return Moments(
            count,
            self.mean + delta * (other.count / count),
            self.m2 + other.m2 + np.square(delta) * (self.count * other.count / count),
            np.minimum(self.min, other.min),
            np.maximum(self.max, other.max),
            self.nonzeros + other.nonzeros,
        )

    @property
    def variance(self) -> Vector:
        """Population variance per feature, as scikit-learn's VarianceThreshold takes it; a constant feature has exactly 0."""
        return np.where(self.min == self.max, 0.0, self.m2 / max(self.count, 1))


def merged(moments: Iterable[Moments]) -> Moments:
    """All together, in the given order."""
    return reduce(Moments.merge, moments)


def rows_key(rows: NDArray[np.int64]) -> str:
    """Digest of the rows that moments cover, 16 hex digits; it stands in the object's name."""
    return hashlib.sha256(np.ascontiguousarray(rows, "<i8").tobytes()).hexdigest()[:16]


def place(folder: Location, shard: str, rows: NDArray[np.int64]) -> Location:
    """Where the moments of these rows of a shard lie: moments of other rows are another object."""
    return folder / f"{shard}-{rows_key(rows)}.npz"


def save(location: Location, layers: Mapping[str, Moments]) -> None:
    """Write one object for all layers."""
    location.write(
        npz.packed({f"{layer}/{f.name}": getattr(m, f.name) for layer, m in layers.items() for f in fields(Moments)})
    )


def load(location: Location, layers: Iterable[str]) -> dict[str, Moments]:
    """Raises FileNotFoundError, and CorruptStore for a damaged object."""
    content = location.read()
    try:
        stored = npz.unpacked(content)
        return {layer: _of_parts({f.name: stored[f"{layer}/{f.name}"] for f in fields(Moments)}) for layer in layers}
    except Exception as error:
        raise CorruptStore(f"{location} is damaged ({error}). Delete it: it is computed anew from the features.") from error


def _of_parts(parts: dict[str, Any]) -> Moments:
    """Raises ValueError where they are not of one shape."""
    found = Moments(**parts | {"count": int(parts["count"])})
    if len({part.shape for name, part in parts.items() if name != "count"}) != 1:
        raise ValueError("its parts are not of one shape")
    return found
