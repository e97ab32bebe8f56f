"""What was found of every cut, which of them are worth their cost, and what to use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trunkline.probing.probe import FOLDS

MUCH_FASTER = 1.5  # times the recommended cut's images/s: less would not be worth another run
NEARLY = 0.05  # of macro-F1: what is much faster may be so much lower and still be named


@dataclass(frozen=True)
class CutScore:
    """One network at one cut.

    Parameters
    ----------
    entry, backbone, size, pooling, layer : which; `entry` is how the network is written in --backbones, `backbone` in --backbone.
    width : features an image.
    f1, spread : macro-F1 of the linear probe, mean and standard deviation over its folds.
    logme, h_score : training-free scores; NaN where no feature varies.
    dead : share of features that are zero in (almost) all images of the sample.
    forward : images a second of the network cut there, measured, the forward pass alone.
    images_per_second : with reading and decoding these images beside it.
    bytes : of the features of all images of the source, float32, before compression.
    is_default : whether a run cuts there by default.
    """

    entry: str
    backbone: str
    size: int
    pooling: str
    layer: str
    width: int
    f1: float
    spread: float
    logme: float
    h_score: float
    dead: float
    forward: float
    images_per_second: float
    bytes: int
    is_default: bool

    @property
    def name(self) -> str:
        return f"{self.entry} at {self.layer}"


@dataclass(frozen=True)
class NetworkScore:
    """What a network's own classes say: NCE and LEEP; and in nats the mean entropy of its predictions and the entropy of their mean."""

    entry: str
    nce: float
    leep: float
    entropy: float
    marginal: float
    classes: int


def front(cuts: Sequence[CutScore]) -> list[CutScore]:
    """The cuts that no other one beats in both macro-F1 and images/s, slowest first (V. Pareto's efficiency)."""
    found: list[CutScore] = []
    for cut in sorted(cuts, key=lambda cut: (-cut.images_per_second, -cut.f1)):
        if not found or cut.f1 > found[-1].f1:
            found.append(cut)
    return found[::-1]


def recommended(cuts: Sequence[CutScore]) -> CutScore:
    """The fastest cut within one standard error of the best (the rule of Breiman et al., "Classification and Regression Trees", 1984)."""
    best = max(cuts, key=lambda cut: (cut.f1, cut.images_per_second))
    least = best.f1 - best.spread / math.sqrt(FOLDS)
    return max((cut for cut in cuts if cut.f1 >= least), key=lambda cut: (cut.images_per_second, cut.f1))


def faster(cuts: Sequence[CutScore], than: CutScore) -> CutScore | None:
    """The best of what is much faster and nearly as good."""
    near = [cut for cut in cuts if cut.images_per_second >= MUCH_FASTER * than.images_per_second and cut.f1 >= than.f1 - NEARLY]
    return max(near, key=lambda cut: (cut.f1, cut.images_per_second), default=None)


def sentence(cuts: Sequence[CutScore]) -> str:
    """The recommendation in one sentence."""
    best, use = max(cuts, key=lambda cut: (cut.f1, cut.images_per_second)), recommended(cuts)
    said = f"Use {use.name}: macro-F1 {use.f1:.3f} ± {use.spread:.3f} at {_rate(use.images_per_second)} images/s"
    if use != best:
        said += f", the fastest within one standard error of the best, {best.name} with {best.f1:.3f} at {_rate(best.images_per_second)}"
    other = faster(cuts, use)
    if other is None:
        return f"{said}; nothing that is much faster comes near."
    times, lower = other.images_per_second / use.images_per_second, use.f1 - other.f1
    return f"{said}; {other.name} is {times:.1f} times as fast and {lower:.3f} lower."


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.1f}"
