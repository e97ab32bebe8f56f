"""Every cut of every network scored on the gathered features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trunkline.probing import signs
from trunkline.probing.h_score import h_score
from trunkline.probing.logme import logme
from trunkline.probing.measuring import Prepared, Vectors
from trunkline.probing.networks import Laid
from trunkline.probing.probe import linear_probe
from trunkline.probing.ranking import CutScore, NetworkScore
from trunkline.probing.transfer import leep, nce

FLOAT32 = 4
SUMS_TO_ONE = 1e-3  # within: predictions are probabilities, and not logits


@dataclass(frozen=True)
class Truth:
    """Labels of the gathered images, (n,) from 0 to `classes` − 1; `seed` of the probe's folds."""

    labels: NDArray[np.int64]
    classes: int
    seed: int


@dataclass(frozen=True)
class Pace:
    """Images a second of each cut's forward pass; seconds of one core to read and decode an image; cores; images of the source."""

    forward: Mapping[str, float]
    decode_seconds: float
    cores: int
    images: int

    def with_decoding(self, layer: str) -> float:
        """Images a second where the same cores read and decode too."""
        return 1.0 / (1.0 / self.forward[layer] + self.decode_seconds / self.cores)


def score_cuts(laid: Laid, network: Prepared, vectors: Vectors, truth: Truth, pace: Pace) -> Iterator[CutScore]:
    """Probe, LogME and H-score of each layer of a network."""
    for layer in laid.layers:
        features = vectors[layer]
        probe = linear_probe(features, truth.labels, truth.classes, truth.seed)
        yield CutScore(
            entry=laid.entry.name,
            backbone=laid.entry.backbone,
            size=network.recipe.size,
            pooling=network.recipe.pooling,
            layer=layer,
            width=features.shape[1],
            f1=probe.f1,
            spread=probe.spread,
            logme=logme(features, truth.labels, truth.classes),
            h_score=h_score(features, truth.labels, truth.classes),
            dead=signs.dead_share(features),
            forward=pace.forward[layer],
            images_per_second=pace.with_decoding(layer),
            bytes=features.shape[1] * FLOAT32 * pace.images,
            is_default=layer == laid.default,
        )


def score_network(laid: Laid, vectors: Vectors, truth: Truth) -> NetworkScore | None:
    """NCE, LEEP and entropies of the network's own predictions; None where it makes none."""
    if laid.classifier is None:
        return None
    predictions = vectors[laid.classifier]
    if not np.allclose(predictions.sum(axis=1), 1.0, atol=SUMS_TO_ONE):
        return None
    each, marginal = signs.entropies(predictions)
    return NetworkScore(
        entry=laid.entry.name,
        nce=nce(predictions.argmax(axis=1), truth.labels),
        leep=leep(predictions, truth.labels),
        entropy=each,
        marginal=marginal,
        classes=predictions.shape[1],
    )


def best_first(cuts: Sequence[CutScore]) -> list[CutScore]:
    return sorted(cuts, key=lambda cut: (-cut.f1, -cut.images_per_second))
