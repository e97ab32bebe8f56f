"""What is compared: networks, each at an input size and with a pooling, as `efficientnet-lite0@160:gem` says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from trunkline.errors import SpecError, did_you_mean
from trunkline.specs import RunSpec

ENTRY = re.compile(r"(?P<backbone>.+?)(?:@(?P<size>[^@:/]*))?(?::(?P<pooling>[^@:/]*))?")
POOLINGS = ("avg", "max", "gem")
LEAST_SIZE, LARGEST_SIZE = 16, 4096  # as of Preparation


@dataclass(frozen=True)
class Entry:
    """A backbone, the side of its input in pixels (None: its own), and how maps become vectors."""

    backbone: str
    size: int | None
    pooling: str

    @classmethod
    def of(cls, said: str, spec: RunSpec) -> Entry:
        """Of `NAME`, `NAME@SIZE`, `NAME:POOLING` or `NAME@SIZE:POOLING`; what is left out is the spec's.

        Raises
        ------
        SpecError : a size that is none, or another pooling.
        """
        found = ENTRY.fullmatch(said.strip())
        if not found:
            raise SpecError(f"--backbones names nothing between two commas. {HOW}")
        size, pooling = found["size"], found["pooling"]
        if size is not None and not (size.isdecimal() and LEAST_SIZE <= int(size) <= LARGEST_SIZE):
            raise SpecError(f"{said!r} asks for a size of {size!r} pixels; that takes {LEAST_SIZE} to {LARGEST_SIZE}. {HOW}")
        if pooling is not None and pooling not in POOLINGS:
            near = did_you_mean(pooling, POOLINGS)
            raise SpecError(f"{said!r} asks for the pooling {pooling!r}; there are {', '.join(POOLINGS)}.{near} {HOW}")
        own = spec.pooling if spec.pooling in POOLINGS else "avg"
        return cls(found["backbone"], int(size) if size else spec.preparation.size, pooling or own)

    @property
    def name(self) -> str:
        """As it is written on the command line."""
        size = f"@{self.size}" if self.size else ""
        return f"{self.backbone}{size}" + (f":{self.pooling}" if self.pooling != "avg" else "")

    def spec(self, spec: RunSpec, layers: Sequence[str] = ()) -> RunSpec:
        """What a run of this entry, cut at these layers, would be asked."""
        preparation = spec.preparation.model_copy(update={"size": self.size})
        storage = spec.storage.model_copy(update={"dtype": "float32"})
        return spec.model_copy(
            update={
                "backbone": self.backbone,
                "preparation": preparation,
                "storage": storage,
                "pooling": self.pooling,
                "precision": "f32",
                "maps": "flat",
                "layers": tuple(layers),
            }
        )


HOW = "Write --backbones efficientnet-lite0,efficientnet-lite0@160,resnet50:gem: a name, @ a size in pixels, : a pooling."


def entries_of(said: str, spec: RunSpec) -> list[Entry]:
    """The entries of a list with commas. Raises SpecError for one that is written wrongly, or twice."""
    found = [Entry.of(each, spec) for each in said.split(",")]
    twice = sorted({each.name for each in found if found.count(each) > 1})
    if twice:
        raise SpecError(f"--backbones names {', '.join(twice)} twice. {HOW}")
    return found
