"""Signs that the images look unlike what the network knows; each warning names its sign, with the figure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trunkline.probing.ranking import CutScore, NetworkScore

PERFECT = 0.99  # macro-F1: beyond, cuts differ by less than chance
ZERO_IN = 0.99  # of the images: a feature that is zero in so many tells nothing of a class
MANY_GREY = 0.5  # of the images: below, a few black-and-white photos are what ImageNet has too
ENLARGED = 2.0  # times: beyond, the network sees more invented pixels than real ones, and a smaller input may lose nothing
MOSTLY_DEAD = 0.5  # of a default cut's features: of photos none are, of handwritten digits a fifth
NARROW = 0.5  # of the log of its classes: entropy of the mean prediction; photos of all kinds have 0.9, six kinds of fruit 0.65
UNSURE = 0.65  # likewise, mean entropy of a prediction: photos have 0.2 of it, enlarged thumbnails 0.55, handwritten digits 0.8


def warnings_of(
    cuts: Sequence[CutScore], networks: Sequence[NetworkScore], grey: NDArray[np.bool_], sides: NDArray[np.int64]
) -> list[str]:
    """What to say of these images, in sentences; nothing where all is as usual."""
    return [*_of_scores(cuts), *_of_images(cuts, grey, sides), *_of_features(cuts), *_of_predictions(networks)]


def _of_scores(cuts: Sequence[CutScore]) -> list[str]:
    perfect = sum(cut.f1 >= PERFECT for cut in cuts)
    if perfect <= len(cuts) / 2 or len(cuts) == 1:
        return []
    return [
        f"Too easy to tell: {perfect:,} of {len(cuts):,} cuts reach a macro-F1 of {PERFECT} or more, so the order is one of speed. Either "
        "something simple such as colour tells the classes apart, or the images are nearly copies of each other, such as frames of one "
        "film, and each fold is tested on what it learned. Compare on images taken elsewhere; without them, take the default cut."
    ]


def _of_images(cuts: Sequence[CutScore], grey: NDArray[np.bool_], sides: NDArray[np.int64]) -> list[str]:
    found = []
    if len(grey) and grey.mean() > MANY_GREY:
        found.append(
            f"Grey images: red, green and blue are equal in {grey.mean():.0%} of the sample, and the networks learned from colour photos. "
            "Features that respond to colour are of no use here."
        )
    known = sides[sides > 0]
    side = float(np.median(known)) if len(known) else math.inf
    large = sorted({cut.size for cut in cuts if cut.size > ENLARGED * side})
    if large:
        of = f"{large[0]}" if len(large) == 1 else f"{large[0]} to {large[-1]}"
        found.append(
            f"Small images: the median shorter side is {side:.0f} pixels, and the networks take {of}, so most of what they see is "
            f"interpolated.{_another_size(cuts)}"
        )
    return found


def _another_size(cuts: Sequence[CutScore]) -> str:
    """A size to compare as well, where the best network was looked at in one size alone."""
    best = cuts[0]
    if len({cut.size for cut in cuts if cut.backbone == best.backbone}) > 1:
        return ""
    half = max(32, 32 * round(best.size / 2 / 32))
    return f" A smaller input is faster, and may do as well: compare {best.backbone}@{half} too."


def _of_features(cuts: Sequence[CutScore]) -> list[str]:
    dead = [cut for cut in cuts if cut.is_default and cut.dead > MOSTLY_DEAD]
    return [
        f"Dead features: {cut.dead:.0%} of the {cut.width:,} features of {cut.name} are zero in {ZERO_IN:.0%} of the images or more. What "
        "it learned to see is not in these images; an earlier cut may suit them better."
        for cut in dead
    ]


def _of_predictions(networks: Sequence[NetworkScore]) -> list[str]:
    found = []
    for network in networks:
        most = math.log(network.classes)
        if network.marginal < NARROW * most:
            found.append(
                f"Low entropy: {network.entry} takes all these images for few of its {network.classes:,} classes (its mean prediction has "
                f"an entropy of {network.marginal:.2f} nats, {network.marginal / most:.0%} of the most there is), so it hardly tells them "
                "apart by what it was trained for."
            )
        elif network.entropy > UNSURE * most:
            found.append(
                f"High entropy: {network.entry} recognises next to nothing (the entropy of a prediction is {network.entropy:.2f} nats on "
                f"average, {network.entropy / most:.0%} of the most there is)."
            )
    return found


def dead_share(features: NDArray[np.float32]) -> float:
    """Share of features that are zero in 99 % of the images or more."""
    return float(((features == 0).mean(axis=0) >= ZERO_IN).mean())


def entropies(probabilities: NDArray[np.float32]) -> tuple[float, float]:
    """In nats: the mean entropy of an image's prediction, and the entropy of the mean prediction, which is the larger one."""
    mean = probabilities.mean(axis=0, dtype=np.float64)
    return float(_entropy(probabilities.astype(np.float64)).mean()), float(_entropy(mean))


def _entropy(p: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = -(p * np.log(np.maximum(p, np.finfo(np.float64).tiny))).sum(axis=-1)
    return found
