"""What the process that trains is asked to do, and what it says when it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trunkline.backbones.compilation import Order
from trunkline.finetuning.data import Images
from trunkline.finetuning.history import Epoch
from trunkline.locations import Location
from trunkline.specs import FinetuneSpec


@dataclass(frozen=True)
class Job:
    """One fine-tuning.

    Parameters
    ----------
    order : network and recipe; the recipe's one layer is the cut.
    unfrozen : names of the layers that phase 2 trains.
    place : the result's folder, `<store>/finetuned/<name>`.
    head_key, key : digests of all that decides the weights after phase 1, and after phase 2.
    most_bad : share of images that may be unreadable.
    lineage : what the parent knows of where this comes from; it ends in `lineage.json`.
    """

    order: Order
    tune: FinetuneSpec
    unfrozen: Sequence[str]
    images: Images
    place: Location
    head_key: str
    key: str
    most_bad: float
    lineage: Mapping[str, Any]


@dataclass(frozen=True)
class Trained:
    """Both phases.

    Parameters
    ----------
    history : every epoch, of runs before this one too.
    best : the one whose weights are kept.
    resumed : epochs that were found in checkpoints.
    notes : what a reader must know.
    """

    history: Sequence[Epoch]
    best: Epoch
    resumed: int
    notes: Sequence[str]
