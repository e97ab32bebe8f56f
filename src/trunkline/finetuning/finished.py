"""The fine-tuned backbones that a store holds."""

from __future__ import annotations

import json

from trunkline.finetuning.result import BACKBONE, LINEAGE
from trunkline.locations import Location

FOLDER = "finetuned"  # of a store


def finished_with(store: Location, sha256: str) -> Location | None:
    """The file of a store's fine-tuned backbone by its digest, as lineages say it; whoever opens it compares. None where there is none."""
    for name in (store / FOLDER).names():
        place = store / f"{FOLDER}/{name}"
        try:
            said = json.loads((place / LINEAGE).read())["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not finished, or damaged, which `finetune` says
        if said == sha256:
            return place / BACKBONE
    return None
