"""From the arrivals of a measured sample to the time of a whole extraction; pure arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from trunkline.blocks import Timings

STABLE = 0.05  # the two halves of a measurement differ by no more than this share
MIN_SECONDS, MAX_SECONDS = 3.0, 15.0


@dataclass(frozen=True)
class Arrival:
    """A shard of `rows` that was committed, `seconds` after the first worker was asked for."""

    seconds: float
    rows: int


@dataclass(frozen=True)
class Pace:
    """How fast a cluster goes.

    Parameters
    ----------
    starting : seconds before the steady pace, over and above what its images take: workers, backbone, first shards.
    images_per_second : of all workers, from then on.
    rows, seconds : that were measured at the steady pace.
    """

    starting: float
    images_per_second: float
    rows: int
    seconds: float


def pace(arrivals: Sequence[Arrival], slots: int) -> Pace:
    """The pace of `slots` shards at once. Each slot's first shard is the warm-up; then whole rounds of all slots count.

    Without a round after the warm-up, all there is counts: then starting is not told apart from the pace.
    """
    whole = len(arrivals) // slots * slots
    warm, counted = arrivals[:slots], arrivals[slots:whole]
    if not counted:
        rows, seconds = _rows(arrivals), max(arrivals[-1].seconds, 1e-9)
        return Pace(0.0, rows / seconds, rows, seconds)
    rows, seconds = _rows(counted), max(counted[-1].seconds - warm[-1].seconds, 1e-9)
    speed = rows / seconds
    return Pace(max(0.0, warm[-1].seconds - _rows(warm) / speed), speed, rows, seconds)


def _rows(arrivals: Iterable[Arrival]) -> int:
    return sum(each.rows for each in arrivals)


def is_enough(arrivals: Sequence[Arrival], slots: int, rows: int) -> bool:
    """Whether to stop measuring: it is stable, has taken its time, or has gone through as many rows as there are to do."""
    if len(arrivals) < 2 * slots or len(arrivals) % slots:
        return False
    whole = pace(arrivals, slots)
    if whole.seconds >= MAX_SECONDS or _rows(arrivals) >= rows:
        return True
    half = len(arrivals) // slots // 2 * slots
    if whole.seconds < MIN_SECONDS or half < 2 * slots:
        return False
    first = pace(arrivals[:half], slots).images_per_second
    return abs(first / whole.images_per_second - 1) <= STABLE / 2


def extraction_seconds(images: int, shards: int, workers: int, images_per_second: float) -> float:
    """At a steady pace, and with workers that idle at the end where shards do not come out even."""
    uneven = -(-shards // workers) * workers / shards if shards else 1.0
    return images / images_per_second * uneven


def seconds_an_image(timings: Iterable[Timings], images: int) -> dict[str, float]:
    """Read, decode, forward and write, each summed over threads."""
    parts = {"read": 0.0, "decode": 0.0, "forward": 0.0, "write": 0.0}
    for each in timings:
        for part in parts:
            parts[part] += getattr(each, part)
    return {part: seconds / max(images, 1) for part, seconds in parts.items()}


def bottleneck(parts: Mapping[str, float], streams: Mapping[str, int]) -> str:
    """The part that alone would take longest with its `streams` working at the same time."""
    return max(parts, key=lambda part: parts[part] / streams[part])
