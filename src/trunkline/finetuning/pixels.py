"""Images as the network takes them, decoded once and kept: in memory while they are few, else in a temporary file."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from trunkline import images
from trunkline.errors import StorageError, TooManyBadImages, UnreadableImage
from trunkline.finetuning.data import Images
from trunkline.progress import Progress, Step
from trunkline.specs import Recipe

IN_MEMORY = 2 << 30  # bytes of one array; larger ones lie in a file, which the system caches as memory allows
SPARE = 0.1  # of the disk's free space, left to others
READERS, AT_ONCE = 4, 256
FEWEST_FOR_BAD = 100
NAMED = 3


@dataclass(frozen=True)
class Decoded:
    """All images of a fine-tuning.

    Parameters
    ----------
    pixels : (n, size, size, 3) of the recipe's dtype; those of unreadable images are 0.
    sha256 : of each file's bytes; '' where it cannot be read.
    bad : place → reason of those that cannot be read.
    """

    pixels: NDArray[Any]
    sha256: Sequence[str]
    bad: Mapping[int, str]


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder for arrays that are larger than `IN_MEMORY`."""
    with tempfile.TemporaryDirectory(prefix="trunkline-finetune-") as folder:
        yield Path(folder)


def array(shape: tuple[int, ...], dtype: DTypeLike, folder: Path, name: str) -> NDArray[Any]:
    """An array to fill, in memory or in a file of `folder`.

    Raises
    ------
    StorageError : it is too large for memory, and the disk has no room either.
    """
    nbytes = int(np.prod(shape, dtype=np.float64)) * np.dtype(dtype).itemsize
    if nbytes <= IN_MEMORY:
        return np.zeros(shape, dtype)
    free = shutil.disk_usage(folder).free
    if nbytes > (1 - SPARE) * free:
        raise StorageError(
            f"The {name} of {shape[0]:,} images take {nbytes / 2**30:,.1f} GiB, more than {IN_MEMORY >> 30} GiB, so they go to a "
            f"temporary file, and {folder.parent} has {free / 2**30:,.1f} GiB free. Set TMPDIR to a larger disk, or take a smaller "
            "preparation.size."
        )
    return np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.dtype(dtype), shape)


def decoded(chosen: Images, recipe: Recipe, folder: Path, most_bad: float, progress: Progress) -> Decoded:
    """Read and decode every image once, with the recipe's preparation.

    Raises
    ------
    TooManyBadImages : more than this share of at least 100 images cannot be read, or a class loses its last training image.
    StorageError : no room for the pixels.
    StorageUnreachable : the source does not answer.
    """
    total, source = len(chosen.listed), chosen.dataset.source
    pixels = array((total, recipe.size, recipe.size, 3), recipe.pixels, folder, "pixels")
    digests, bad = [""] * total, dict[int, str]()

    def load(place: int) -> None:
        try:
            content = source.read(*chosen.listed[place])
            pixels[place] = images.load(content, recipe)
            digests[place] = hashlib.sha256(content).hexdigest()
        except UnreadableImage as error:
            bad[place] = error.reason

    progress(Step("decode", 0, total))
    with ThreadPoolExecutor(READERS) as readers:
        for start in range(0, total, AT_ONCE):
            stop = min(start + AT_ONCE, total)
            list(readers.map(load, range(start, stop)))
            progress(Step("decode", stop, total, f"{len(bad)} unreadable" if bad else ""))
    _refuse_too_bad(chosen, bad, most_bad)
    return Decoded(pixels, digests, dict(sorted(bad.items())))


def _refuse_too_bad(chosen: Images, bad: Mapping[int, str], most: float) -> None:
    total = len(chosen.listed)
    reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(bad.values()).most_common())
    if total >= FEWEST_FOR_BAD and len(bad) > most * total:
        raise TooManyBadImages(
            f"{len(bad)} of {total} images cannot be read ({reasons}), more than the allowed {most:.0%}, so nothing was trained. Repair "
            "the source, or allow more with --max-bad."
        )
    rest = chosen.without(list(bad))
    left = np.bincount(chosen.codes[rest.training], minlength=len(chosen.classes))
    gone = [name for name, count in zip(chosen.classes, left, strict=True) if not count]
    if gone or not len(rest.validation):
        what = f"no training image of {', '.join(gone[:NAMED])}" if gone else "no validation image"
        raise TooManyBadImages(
            f"{len(bad)} of {total} images cannot be read ({reasons}), and {what} is left, so nothing was trained. Repair the source."
        )
