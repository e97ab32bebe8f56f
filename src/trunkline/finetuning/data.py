"""Which images a fine-tuning learns from, is stopped by and is measured on, and what their labels mean."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import DataError
from trunkline.specs import FinetuneSpec, digest_of
from trunkline.store.feature_store import Dataset

NAMED = 5
FEWEST = 2  # images of a class: one to learn from, one to be stopped by

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Images:
    """The labelled images of a dataset, in row order.

    Parameters
    ----------
    dataset : whose source they are read from.
    listed : (id, version, place) of each.
    classes : the names that `codes` count.
    codes : (n,) int64 class numbers.
    training, validation, test : places in `listed`, ascending.
    """

    dataset: Dataset
    listed: Sequence[tuple[str, str, str]]
    classes: Sequence[str]
    codes: Places
    training: Places
    validation: Places
    test: Places

    def digest(self) -> str:
        """Of ids, versions, labels and splits."""
        content = hashlib.sha256()
        for id_, version, place in self.listed:
            content.update(f"{id_}\0{version}\0{place}\n".encode("utf-8", "surrogateescape"))
        for array in (self.codes, self.training, self.validation, self.test):
            content.update(array.astype("<i8").tobytes() + b"\n")
        return digest_of([list(self.classes), content.hexdigest()])

    def without(self, bad: Sequence[int]) -> Images:
        """Without the images at these places, which cannot be read; the places of the others stay."""
        kept = (np.setdiff1d(each, np.asarray(bad, np.int64)) for each in (self.training, self.validation, self.test))
        return Images(self.dataset, self.listed, self.classes, self.codes, *kept)


def images_of(dataset: Dataset, tune: FinetuneSpec) -> Images:
    """The labelled live images of a scanned dataset.

    Images to stop by are the dataset's `val` split; where it has none, the training images of each class whose ids have the lowest
    hashes. Test images of classes without a training image are left out.

    Raises
    ------
    DataError : nothing scanned, fewer than two classes, or fewer than two training images in a class.
    """
    manifest = dataset.manifest
    labels, splits = dataset.labels.values(manifest.rows), dataset.splits.values(manifest.rows)
    rows = np.flatnonzero(manifest.live() & (labels.codes >= 0)).astype(np.int64)
    if not len(rows):
        raise DataError(
            f"The dataset {dataset.name} has no labelled images, so there is nothing to fine-tune on. Put images into class folders, or "
            "give a table with a column of labels."
        )
    split = np.array([name or "" for name in splits.of(rows)])
    known = np.unique(labels.codes[rows[split == "train"]])
    classes = sorted(labels.names[code] for code in known)
    numbers = np.full(len(labels.names), -1, np.int64)
    for number, name in enumerate(classes):
        numbers[labels.code(name)] = number
    kept = numbers[labels.codes[rows]] >= 0
    rows, split = rows[kept], split[kept]
    codes = numbers[labels.codes[rows]]
    table = manifest.take(rows, ("id", "version", "place")).to_pydict()
    listed = list(zip(table["id"], table["version"], table["place"], strict=True))
    training, validation = np.flatnonzero(split == "train"), np.flatnonzero(split == "val")
    _refuse_too_few(classes, np.bincount(codes[training], minlength=len(classes)), dataset.name)
    if not len(validation):
        validation = _held_out(training, codes, [listed[place][0] for place in training], tune)
        training = np.setdiff1d(training, validation)
    return Images(dataset, listed, classes, codes, training, validation, np.flatnonzero(split == "test"))


def class_weights(images: Images, how: str) -> NDArray[np.float32]:
    """(classes,) float32: what an image of each class weighs; 1 on average over the training images."""
    counts = np.bincount(images.codes[images.training], minlength=len(images.classes))
    if how == "none":
        return np.ones(len(counts), np.float32)
    weights: NDArray[np.float32] = (counts.sum() / (len(counts) * np.maximum(counts, 1))).astype(np.float32)
    return weights


def _refuse_too_few(classes: Sequence[str], counts: NDArray[Any], name: str) -> None:
    if len(classes) < FEWEST:
        raise DataError(
            f"Fine-tuning needs at least two classes, and the training images of {name} have {len(classes)} "
            f"({', '.join(classes) or 'none'}). Label more images."
        )
    few = [name for name, count in zip(classes, counts, strict=True) if count < FEWEST]
    if few:
        said = ", ".join(few[:NAMED]) + (f" and {len(few) - NAMED} more" if len(few) > NAMED else "")
        raise DataError(
            f"Fewer than two training images in {len(few)} of {len(classes)} classes ({said}): one is needed to learn from and one to stop "
            "by. Add images to them, or take these classes out of the source."
        )


def _held_out(training: Places, codes: Places, ids: Sequence[str], tune: FinetuneSpec) -> Places:
    """Of each class the share with the lowest hash of (seed, id): at least one image, and never all."""
    hashes = np.array([_hash(tune.seed, id_) for id_ in ids], np.uint64)
    held = []
    for code in np.unique(codes[training]):
        of_class = np.flatnonzero(codes[training] == code)
        count = min(max(1, round(tune.val_fraction * len(of_class))), len(of_class) - 1)
        held.append(training[of_class[np.argsort(hashes[of_class], kind="stable")[:count]]])
    return np.sort(np.concatenate(held))


def _hash(seed: int, id_: str) -> int:
    return int.from_bytes(hashlib.sha256(f"finetune:{seed}:{id_}".encode("utf-8", "surrogateescape")).digest()[:8], "big")
