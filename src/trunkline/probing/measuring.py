"""A piece of the sample on a worker: each image read and decoded once, then through every network, pooled at all of its cuts."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline import images, runtimes
from trunkline.backbones.compiled import Compiled
from trunkline.engine import Budget
from trunkline.errors import UnreadableImage
from trunkline.images.headers import read_header
from trunkline.sources import Listed, bound
from trunkline.specs import Recipe

PIECE = 64  # images that are prepared before any network runs

Vectors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Prepared:
    """A network ready to run: its recipe, compiled with all cuts as outputs, and which of the outputs are its own classes."""

    recipe: Recipe
    backbone: Compiled
    runtime: str
    classifier: str | None


@dataclass(frozen=True)
class ProbeJob:
    """What all pieces have in common; `source` is what `source.json` would hold."""

    source: Mapping[str, Any]
    networks: tuple[Prepared, ...]
    threads: int
    readers: int
    in_flight_bytes: int


@dataclass(frozen=True)
class Piece:
    """Some images of the sample, from place `first` on."""

    first: int
    images: tuple[Listed, ...]


@dataclass(frozen=True)
class Seen:
    """What came of a piece, over its n readable images.

    Parameters
    ----------
    places : (n,) places in the sample.
    vectors : of each network, layer → (n, dim) float32.
    grey, sides : (n,) whether red, green and blue are equal everywhere; the shorter side in pixels, 0 where it is not known.
    reasons : of the unreadable ones.
    seconds : of reading and decoding, processor time over all threads.
    """

    places: NDArray[np.int64]
    vectors: tuple[Vectors, ...]
    grey: NDArray[np.bool_]
    sides: NDArray[np.int64]
    reasons: Mapping[str, int]
    seconds: float


@dataclass(frozen=True)
class _Loaded:
    """One image: a square for each network; or the reason why there is none."""

    squares: Sequence[NDArray[Any]]
    grey: bool = False
    side: int = 0
    reason: str = ""
    seconds: float = 0.0


_turn = threading.Lock()  # a network is run by one thread at a time


def see(job: ProbeJob, piece: Piece) -> Seen:
    """Read, decode and run a piece.

    Raises
    ------
    StorageUnreachable : the source does not answer.
    GoldenMismatch : a network does not compute what its reference computed.
    """
    source, budget = bound(job.source), Budget(job.in_flight_bytes)
    recipes = [network.recipe for network in job.networks]

    def load(image: Listed) -> _Loaded:
        started = time.thread_time()
        try:
            content = source.read(image.id, image.version, image.place)
            with budget.held(len(content) + max(images.decoded_bytes(content, recipe) for recipe in recipes)):
                return _loaded(content, recipes, started)
        except UnreadableImage as error:
            return _Loaded((), reason=error.reason)

    with ThreadPoolExecutor(job.readers, "reader") as readers:
        found = list(readers.map(load, piece.images))
    good = [number for number, each in enumerate(found) if not each.reason]
    with _turn:
        loaded = runtimes.load_each([(network.runtime, network.backbone) for network in job.networks], job.threads)
        vectors = [
            _run(network.backbone, runtime, [found[number].squares[place] for number in good])
            for place, (network, runtime) in enumerate(zip(job.networks, loaded, strict=True))
        ]
    finite = _finite(vectors, len(good))
    reasons = Counter(each.reason for each in found if each.reason)
    if not finite.all():
        reasons["non-finite"] += int((~finite).sum())
    kept = [found[number] for number, is_sound in zip(good, finite, strict=True) if is_sound]
    return Seen(
        places=piece.first + np.array(good, np.int64)[finite],
        vectors=tuple({layer: values[finite] for layer, values in each.items()} for each in vectors),
        grey=np.array([each.grey for each in kept], bool),
        sides=np.array([each.side for each in kept], np.int64),
        reasons=dict(reasons),
        seconds=sum(each.seconds for each in found),
    )


def _loaded(content: bytes, recipes: Sequence[Recipe], started: float) -> _Loaded:
    squares = images.load_each(content, recipes)
    for square in squares:
        if isinstance(square, UnreadableImage):
            raise square
    first: Any = squares[0]
    header = read_header(content)
    is_grey = bool((first[..., 0] == first[..., 1]).all() and (first[..., 1] == first[..., 2]).all())
    side = min(header.width, header.height) if header else 0
    return _Loaded(squares, is_grey, side, seconds=time.thread_time() - started)  # type: ignore[arg-type]


def _run(backbone: Compiled, runtime: runtimes.Runtime, squares: Sequence[NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """Layer → (n, dim) of these images, in batches of the compiled shape, the last one padded."""
    out = {layer: np.empty((len(squares), dim), np.float32) for layer, dim in backbone.dims.items()}
    pixels = np.zeros((backbone.batch, backbone.size, backbone.size, 3), backbone.pixels)
    for start in range(0, len(squares), backbone.batch):
        some = squares[start : start + backbone.batch]
        pixels[: len(some)], pixels[len(some) :] = np.stack(some), 0
        for layer, values in runtime.run(pixels).items():
            out[layer][start : start + len(some)] = values[: len(some)]
    return out


def _finite(vectors: Sequence[Vectors], count: int) -> NDArray[np.bool_]:
    every = np.ones(count, bool)
    for values in (values for each in vectors for values in each.values()):
        every &= np.isfinite(values).all(axis=1)
    return every
