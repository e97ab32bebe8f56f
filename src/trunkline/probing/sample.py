"""A stratified sample of the training images, drawn while the listing streams by: the same images for the same source and seed."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from trunkline.errors import DataError, SourceError, SpecError
from trunkline.sources import Listed, Source
from trunkline.specs import RunSpec
from trunkline.wording import counted

SAMPLE = 2_000
FEWEST = 2  # images of a class: one to learn from and one to test on
A_CLASS = 5  # images at least of a class that has them: one for each fold of the probe
MARGIN = 2.0  # candidates kept beyond a class's share, so that chance never leaves one short
ROOM = 4  # times the sample: what is held before it is thinned again
NAMED = 5


@dataclass(frozen=True)
class Sample:
    """The images drawn, in random order, and what was there.

    Parameters
    ----------
    images, labels : what was drawn; (n,) class numbers into `classes`, the sorted names.
    listed, training, unlabelled : images of the source, of its training split, and of these without a label, which are left out.
    too_few : classes with fewer than two images, which are left out.
    """

    images: Sequence[Listed]
    labels: Sequence[int]
    classes: Sequence[str]
    listed: int
    training: int
    unlabelled: int
    too_few: Sequence[str]


def draw(source: Source, spec: RunSpec, wanted: int = SAMPLE) -> Sample:
    """Draw about `wanted` images of the training split: of each class in proportion, and five at least where it has them.

    Labels and splits are those that a run would see. Memory holds a few times the sample, not the listing.

    Raises
    ------
    SourceError : the source holds no image, or cannot be listed.
    DataError : no labels, fewer than two classes with two images, or more classes than the sample has room for.
    SpecError : labels that are no classes.
    """
    if spec.target.kind != "classes":
        raise SpecError(
            f"target.kind is {spec.target.kind}, and choose compares backbones by classes. Give --source labels that are classes, one an "
            "image, such as class folders, and a spec without a target."
        )
    pool = _Pool(wanted, spec.seed)
    listed = training = 0
    for image, label, split in _annotated(source, spec):
        listed += 1
        if split == "train":
            training += 1
            pool.add(image, label)
    if not listed:
        raise SourceError(f"The source {source.root} holds no images, so there is nothing to compare. Check the path.")
    return pool.sample(source, listed, training)


def refuse_few_classes(counts: Mapping[str, int], where: object) -> None:
    """Raises DataError where fewer than two classes have two images: `counts` are those of all classes."""
    enough = [name for name, count in counts.items() if count >= FEWEST]
    if len(enough) >= FEWEST:
        return
    said = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items())[:NAMED])
    more = f" and {len(counts) - NAMED} more" if len(counts) > NAMED else ""
    raise DataError(
        f"Comparing needs at least two classes with at least two training images each, and {where} has {len(enough)}: {said}{more}. "
        "Add images, or check that each class has a folder of its own."
    )


def _annotated(source: Source, spec: RunSpec) -> Iterator[tuple[Listed, str | None, str]]:
    """Every image with its label and split. Folders can be read once all are known, so these are listed twice."""
    wanted = spec.labels == "folders"
    if source.tells_labels:
        layout = source.layout_of((), spec.labels)
        for image in source.listing():
            yield image, image.label if wanted else None, image.split or layout.split(image.id, spec.split)
        return
    folders = {image.id.split("/", 1)[0] for image in source.listing() if "/" in image.id}
    layout = source.layout_of(folders, spec.labels)
    for image in source.listing():
        yield image, layout.label(image.id), layout.split(image.id, spec.split)


class _Pool:
    """Labelled training images with the lowest lots: of each class more than its share will be."""

    def __init__(self, wanted: int, seed: int) -> None:
        self._wanted, self._seed = wanted, seed
        self._counts: Counter[str] = Counter()
        self._held: defaultdict[str, list[tuple[int, Listed]]] = defaultdict(list)
        self._size = self._unlabelled = 0

    def add(self, image: Listed, label: str | None) -> None:
        if not label:
            self._unlabelled += 1
            return
        self._counts[label] += 1
        self._held[label].append((self._lot(image.id), image))
        self._size += 1
        if self._size > ROOM * self._wanted + 2 * A_CLASS * len(self._held):
            self._thin()

    def sample(self, source: Source, listed: int, training: int) -> Sample:
        """What was drawn. Raises DataError where there is too little to compare by."""
        if not self._counts:
            raise DataError(
                f"None of the {counted(training, 'training image')} of {source.root} has a label, so there is nothing to compare backbones "
                "by. Put each class into a folder of its own, or give --label-column of a table; and leave --labels none out."
            )
        refuse_few_classes(self._counts, source.root)
        classes = sorted(name for name, count in self._counts.items() if count >= FEWEST)
        if FEWEST * len(classes) > self._wanted:
            raise DataError(
                f"{source.root} has {len(classes):,} classes and the sample {self._wanted:,} images, fewer than two of each. Use "
                f"--sample {A_CLASS * len(classes)}."
            )
        total = sum(self._counts[name] for name in classes)
        drawn = []
        for number, name in enumerate(classes):
            share = self._share(name, total, len(classes))
            drawn += [(lot, image, number) for lot, image in sorted(self._held[name])[:share]]
        drawn.sort()
        return Sample(
            images=[image for _, image, _ in drawn],
            labels=[number for _, _, number in drawn],
            classes=classes,
            listed=listed,
            training=training,
            unlabelled=self._unlabelled,
            too_few=sorted(set(self._counts) - set(classes)),
        )

    def _share(self, name: str, total: int, classes: int) -> int:
        """Images of a class: in proportion, but five (or what the sample has room for) at least, and no more than it has."""
        least = min(A_CLASS, self._wanted // classes)
        return min(self._counts[name], max(round(self._wanted * self._counts[name] / total), least))

    def _thin(self) -> None:
        """Drop what cannot be drawn any more: the share of a class only falls while others come."""
        limit = int(MARGIN * self._wanted / self._counts.total() * 2**64)
        for name, held in self._held.items():
            held.sort()
            self._held[name] = [each for place, each in enumerate(held) if place < A_CLASS or each[0] < limit]
        self._size = sum(map(len, self._held.values()))

    def _lot(self, image_id: str) -> int:
        """From 0 to 2⁶⁴, of (seed, id) alone, and not the number that assigns splits."""
        said = f"choose:{self._seed}:{image_id}".encode("utf-8", "surrogateescape")
        return int.from_bytes(hashlib.sha256(said).digest()[:8], "big")
