"""The 2-D view of a report: where images lie, and small pictures of some of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trunkline.looking.thumbnails import thumbnail_of
from trunkline.reader import Features
from trunkline.report.data import Picture
from trunkline.selection import LayerMask

POINTS = 1500
COMPONENTS = 50
FEWEST = 10

PICTURES, SIDE, QUALITY = 400, 48, 60  # some 1.3 KB each, so that the page stays one small file
READERS, AT_ONCE = 4, 32
MOST_READ = 256 * 2**20  # bytes of images; a bucket of large ones gives fewer pictures


@dataclass(frozen=True)
class View:
    """Row numbers (n,) int64 ascending, their places (n, 2) float64, their labels, and how the places were found."""

    rows: NDArray[np.int64]
    points: NDArray[np.float64]
    labels: Sequence[str]
    method: str


def view_of(features: Features, mask: LayerMask | None) -> View:
    """A 2-D view of up to 1,500 images: t-SNE of the leading principal components; too few images give none."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    rows = features.rows()
    if mask is None or len(rows) < FEWEST:
        return View(np.empty(0, np.int64), np.empty((0, 2)), [], "")
    some = np.sort(np.random.default_rng(0).choice(rows, min(POINTS, len(rows)), replace=False))
    x = features.read(some, columns=mask.kept) / np.sqrt(mask.variances[mask.kept]).astype(np.float32)
    components = min(COMPONENTS, len(some) - 1, x.shape[1])
    reduced = PCA(components, random_state=0).fit_transform(x)
    perplexity = min(30.0, (len(some) - 1) / 3)
    start = "pca" if components >= 2 else "random"
    with threadpool_limits(1, user_api="openmp"):  # on a busy machine its threads spend their time waiting for each other
        view = TSNE(perplexity=perplexity, init=start, random_state=0).fit_transform(reduced)
    labels = [label or "no label" for label in features.labels(some)]
    method = f"t-SNE of {components} principal components, {len(some):,} images"
    return View(some, view.astype(np.float64), labels, method)


def evenly(labels: Sequence[str], most: int) -> list[int]:
    """Places of at most so many, the first of each label before the second of any."""
    seen: Counter[str] = Counter()
    turns = []
    for place, label in enumerate(labels):
        turns.append((seen[label], place))
        seen[label] += 1
    return [place for _, place in sorted(turns)[:most]]


def pictures_of(features: Features, rows: NDArray[np.int64], labels: Sequence[str]) -> Mapping[int, Picture]:
    """Small JPEGs of some of these rows, evenly over labels, by the row's place; an image that cannot be read again has none."""
    listed = features.snapshot.listed(rows).to_pylist() if len(rows) else []
    found: dict[int, Picture] = {}
    read = 0
    places = evenly(labels, PICTURES)
    with ThreadPoolExecutor(READERS) as readers:
        for start in range(0, len(places), AT_ONCE):
            if read > MOST_READ:
                break
            some = places[start : start + AT_ONCE]
            made = readers.map(lambda place: thumbnail_of(features, listed[place], SIDE, QUALITY), some)
            for place, small in zip(some, made, strict=True):
                read += small.read
                if small.jpeg is not None:
                    found[place] = Picture(listed[place]["id"], small.jpeg)
    return found
