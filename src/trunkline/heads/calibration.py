"""A temperature for scores that have no scale of their own, found on held-out rows.

Source: C. Guo et al., "On Calibration of Modern Neural Networks" (2017), temperature scaling.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trunkline.heads.targets import Target, Truth

TEMPERATURES = np.geomspace(0.25, 64.0, 17)  # what scores are multiplied by


def losses_by_temperature(target: Target, truth: Truth, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """(t,): the summed log loss of (n, k) scores under each temperature."""
    return np.array([held_out_losses(target, truth, scores, float(each)) for each in TEMPERATURES])


def held_out_losses(target: Target, truth: Truth, scores: NDArray[np.float64], temperature: float) -> float:
    """The summed log loss: of the softmax over classes, or of each label's sigmoid."""
    scaled = scores * temperature
    if target.kind == "classes":
        highest = scaled.max(axis=1)
        total = np.log(np.exp(scaled - highest[:, None]).sum(axis=1)) + highest
        return float((total - scaled[np.arange(len(truth)), truth]).sum())
    return float((np.logaddexp(0.0, scaled) - scaled * truth).sum())
