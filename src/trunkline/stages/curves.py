"""Curves of what the filter and more labels are worth, measured once for the same training rows and mask, and kept beside the features."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from trunkline.fan_out import SerialExecutor
from trunkline.heads.curves import FilterPoint, LearningPoint, filter_curve, learning_curve
from trunkline.heads.folds import folds_of
from trunkline.heads.training import TrainingData
from trunkline.locations import Location
from trunkline.progress import Step
from trunkline.specs import digest_of
from trunkline.stages.fitting import Fitting

FOLDS = 3  # one of them is held out


@dataclass(frozen=True)
class Curves:
    """Either may be empty: targets without classes, or too few images to hold some out."""

    filter: Sequence[FilterPoint] = ()
    learning: Sequence[LearningPoint] = ()


def curves(fitting: Fitting, only_stored: bool = False) -> Curves:
    """Those that were measured before for the same rows, mask and seed; else measured now, unless only stored ones are wanted."""
    if (before := stored_curves(fitting)) or only_stored:
        return before or Curves()
    fitting.progress(Step("fit", len(fitting.spec.heads), len(fitting.spec.heads), "curves"))
    found = _measured(fitting)
    said = {
        "key": _key(fitting),
        "filter": [asdict(each) for each in found.filter],
        "learning": [asdict(each) for each in found.learning],
    }
    _place(fitting).write(json.dumps(said).encode())
    return found


def stored_curves(fitting: Fitting) -> Curves | None:
    """Those that were measured before for the same rows, mask and seed, None where they never were or are damaged."""
    try:
        said = json.loads(_place(fitting).read())
        if said["key"] != _key(fitting):
            return None
        return Curves([FilterPoint(**each) for each in said["filter"]], [LearningPoint(**each) for each in said["learning"]])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _place(fitting: Fitting) -> Location:
    return fitting.features.feature_set.location / "curves.json"


def _key(fitting: Fitting) -> str:
    return digest_of([fitting.data.key(), fitting.mask.digest, fitting.layer, fitting.spec.seed])


def _measured(fitting: Fitting) -> Curves:
    data, layer = fitting.data, fitting.mask.layers[fitting.layer]
    reader = fitting.features.view(layer=fitting.layer).reader
    folds = folds_of(data.target, data.training_truth, FOLDS, fitting.spec.seed)

    def of(columns: NDArray[np.bool_] | None, width: int) -> TrainingData:
        truth = data.training_truth
        return TrainingData(reader, columns, width, data.training, data.target, truth, folds, SerialExecutor())

    kept = int(layer.kept.sum())
    whole = filter_curve(of(None, len(layer.kept)), layer.variances, kept, reader.dtype.itemsize, fitting.spec.seed)
    return Curves(whole, learning_curve(of(layer.kept, kept), fitting.spec.seed))
