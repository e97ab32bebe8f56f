"""The sample through all networks: pieces on the executor, gathered in the sample's order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import DataError, TooManyBadImages
from trunkline.fan_out import Executor
from trunkline.probing.measuring import PIECE, Piece, ProbeJob, Seen, Vectors, see
from trunkline.progress import Progress, Step
from trunkline.sources import Listed

FEWEST_TO_JUDGE = 20  # images: below, one broken file would be more than 5 %


@dataclass(frozen=True)
class Gathered:
    """Of the n readable images, in the sample's order: the fields of `Seen`, and `decode_seconds` an image, of one core."""

    places: NDArray[np.int64]
    vectors: Sequence[Vectors]
    grey: NDArray[np.bool_]
    sides: NDArray[np.int64]
    reasons: Mapping[str, int]
    decode_seconds: float

    def only(self, kept: NDArray[np.bool_]) -> Gathered:
        """Of some of the images."""
        vectors = [{layer: values[kept] for layer, values in each.items()} for each in self.vectors]
        return replace(self, places=self.places[kept], vectors=vectors, grey=self.grey[kept], sides=self.sides[kept])


def gather(job: ProbeJob, images: Sequence[Listed], executor: Executor, most_bad: float, progress: Progress) -> Gathered:
    """Run the sample through all networks.

    Parameters
    ----------
    most_bad : share of images that may be unreadable.

    Raises
    ------
    TooManyBadImages : more of at least 20 images are.
    DataError : not one could be read.
    """
    seen: list[Seen] = []
    reasons: Counter[str] = Counter()
    done = 0
    progress(Step("choose", 0, len(images)))
    for each in executor.map(see, job, _pieces(images)):
        seen.append(each)
        reasons.update(each.reasons)
        done += len(each.places) + sum(each.reasons.values())
        progress(Step("choose", done, len(images), f"{reasons.total()} unreadable" if reasons else ""))
    _refuse_bad(reasons, len(images), most_bad)
    return _joined(seen, reasons, len(images))


def _pieces(images: Sequence[Listed]) -> Iterator[Piece]:
    for first in range(0, len(images), PIECE):
        yield Piece(first, tuple(images[first : first + PIECE]))


def _refuse_bad(reasons: Mapping[str, int], images: int, most: float) -> None:
    bad = sum(reasons.values())
    said = ", ".join(f"{count} {reason}" for reason, count in Counter(reasons).most_common())
    if bad == images:
        raise DataError(f"Not one of the {images:,} images drawn could be read ({said}). Is the source a folder of images?")
    if images >= FEWEST_TO_JUDGE and bad > most * images:
        raise TooManyBadImages(
            f"{bad:,} of the {images:,} images drawn could not be read ({said}), more than the allowed {most:.0%}. Repair the source, or "
            "allow more with --max-bad and start again."
        )


def _joined(seen: Sequence[Seen], reasons: Mapping[str, int], images: int) -> Gathered:
    order = np.argsort(np.concatenate([each.places for each in seen]), kind="stable")
    networks = range(len(seen[0].vectors))

    def together(network: int) -> Vectors:
        parts = [each.vectors[network] for each in seen]
        return {layer: np.concatenate([part[layer] for part in parts])[order] for layer in parts[0]}

    return Gathered(
        places=np.concatenate([each.places for each in seen])[order],
        vectors=[together(network) for network in networks],
        grey=np.concatenate([each.grey for each in seen])[order],
        sides=np.concatenate([each.sides for each in seen])[order],
        reasons=dict(reasons),
        decode_seconds=sum(each.seconds for each in seen) / max(images, 1),
    )
