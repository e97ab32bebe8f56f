"""What a comparison of backbones found, for the command line, JSON and the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trunkline.probing.ranking import CutScore, NetworkScore, front, recommended
from trunkline.specs import RunSpec, run_command

NAMED = 5


@dataclass(frozen=True)
class Choice:
    """What was found.

    Parameters
    ----------
    source, images, classes, sampled : how many images it has, and how many of how many classes were looked at.
    left_out : images of the sample by why they were left out; `too_few` names classes with fewer than two images.
    cuts, networks : the scores, the best cut first.
    sentence, command : the recommendation, and the run to copy.
    warnings : signs that these images look unlike what the networks know.
    decode_seconds : of one core, to read and decode an image; `cores` is how many the images/s are of.
    out : the page; '' without one.
    """

    source: str
    images: int
    classes: int
    sampled: int
    left_out: Mapping[str, int]
    too_few: Sequence[str]
    cuts: Sequence[CutScore]
    networks: Sequence[NetworkScore]
    sentence: str
    command: str
    warnings: Sequence[str]
    decode_seconds: float
    cores: int
    out: str
    seconds: float

    @property
    def use(self) -> CutScore:
        """The recommended cut."""
        return recommended(self.cuts)

    @property
    def notes(self) -> list[str]:
        """What was left out, in sentences."""
        found = []
        if self.left_out:
            said = ", ".join(
                f"{count:,} {reason}" for reason, count in sorted(self.left_out.items(), key=lambda item: -item[1])
            )
            found.append(f"Left out of the sample: {said}.")
        if self.too_few:
            names = ", ".join(self.too_few[:NAMED]) + (
                f" and {len(self.too_few) - NAMED} more" if len(self.too_few) > NAMED else ""
            )
            found.append(f"Left out, with fewer than two readable training images each: {names}.")
        return found

    def summary(self) -> dict[str, Any]:
        """What `--json` prints."""
        worth = [{"entry": cut.entry, "layer": cut.layer} for cut in front(self.cuts)]
        said = {"recommendation": self.sentence, "use": asdict(self.use), "front": worth, **asdict(self)}
        return {name: _sayable(value) for name, value in said.items()}


def _sayable(value: Any) -> Any:
    """JSON has no NaN: null instead."""
    if isinstance(value, dict):
        return {name: _sayable(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_sayable(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def command_for(spec: RunSpec, cut: CutScore, own_size: int) -> str:
    """The run that cuts there, to copy. `own_size` is the backbone's own."""
    changed = {
        "backbone": cut.backbone,
        "layers": () if cut.is_default else (cut.layer,),
        "pooling": cut.pooling,
        "preparation": spec.preparation.model_copy(update={"size": cut.size}),
    }
    return run_command(spec.model_copy(update=changed), own_size)
