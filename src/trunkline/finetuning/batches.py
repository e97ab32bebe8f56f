"""Training batches in an epoch's own order, prepared ahead while the network computes. The same seed gives the same batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.finetuning.augmentation import augmented, mixed
from trunkline.specs import AugmentationSpec

AHEAD = 3
ORDER, IMAGE, MIXUP = 1, 2, 3  # what a stream of random numbers is for

Batch = tuple[NDArray[Any], NDArray[np.float32]]


@dataclass(frozen=True)
class Batches:
    """The training images of a phase.

    Parameters
    ----------
    pixels : (n, size, size, 3) uint8 or float32 of all images.
    codes : (n,) int64 class numbers of all images.
    places : (m,) those to train on.
    classes, size, seed : how many classes, images a batch, and of every draw.
    """

    pixels: NDArray[Any]
    codes: NDArray[np.int64]
    places: NDArray[np.int64]
    classes: int
    size: int
    seed: int
    augmentation: AugmentationSpec

    def __len__(self) -> int:
        """Batches an epoch; the rest that fills no batch waits for another order, unless there is no full batch at all."""
        return max(1, len(self.places) // self.size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """(size, height, width, 3) uint8 or float32 and (size, classes) float32 of each batch, the next ones being prepared."""
        order = np.random.default_rng([self.seed, ORDER, number]).permutation(self.places)
        ahead: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(1) as preparing:
            for batch in range(len(self)):
                ahead.append(preparing.submit(self._batch, number, batch, order[batch * self.size : (batch + 1) * self.size]))
                if len(ahead) > AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def _batch(self, epoch: int, batch: int, places: NDArray[np.int64]) -> Batch:
        pixels = np.stack([self._image(epoch, int(place)) for place in places])
        truth = np.eye(self.classes, dtype=np.float32)[self.codes[places]]
        if self.augmentation.mixup:
            random = np.random.default_rng([self.seed, MIXUP, epoch, batch])
            return mixed(pixels, truth, self.augmentation.mixup, random)
        return pixels, truth

    def _image(self, epoch: int, place: int) -> NDArray[Any]:
        random = np.random.default_rng([self.seed, IMAGE, epoch, place])
        return augmented(self.pixels[place], self.augmentation, random)
