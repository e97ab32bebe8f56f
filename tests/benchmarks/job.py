"""What a child process is asked to measure, and what it says."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SIZE = 224
BATCH = 32


@dataclass(frozen=True)
class Job:
    """One path over one network, in a process of its own.

    Parameters
    ----------
    path : key of `catalogue.PATHS`.
    network : key of `networks.NETWORKS`.
    images : folder of class folders with `count` JPEGs.
    compiled : folder of stores whose backbones were compiled before the measurement.
    work : an empty folder; what is written there is thrown away afterwards.
    """

    path: str
    network: str
    images: str
    count: int
    compiled: str
    work: str

    @property
    def files(self) -> list[str]:
        return sorted(str(file) for file in Path(self.images).glob("*/*"))

    @property
    def cores(self) -> int:
        return len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Timing:
    """What a child measured.

    `whole_seconds` is what a user waits for once everything is imported and built; `steady_seconds` leaves out what a longer run
    would not notice, such as workers that start. Each path says which is which; paths without the difference give the same twice.
    """

    images: int
    whole_seconds: float
    steady_seconds: float
    notes: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def same(images: int, seconds: float, **notes: Any) -> Timing:
        return Timing(images, seconds, seconds, notes)


def write(record: Job | Timing, place: Path) -> None:
    place.write_text(json.dumps(asdict(record)))
