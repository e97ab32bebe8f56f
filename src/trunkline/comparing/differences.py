"""What differs between two runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trunkline.comparing.records import RunHead, RunRecord
from trunkline.metrics.names import LOWER_IS_BETTER, NAMES, NEITHER, OF_THE_TARGET
from trunkline.metrics.said import number

Interval = tuple[float, float]
SAME_COUNTS = ("rows", "ok", "quarantined", "pending", "extracted", "reused", "features in all", "features kept")
ABSENT = "–"


@dataclass(frozen=True)
class Setting:
    """A setting of the spec that differs; a dash where a run does not have it."""

    name: str
    first: str
    second: str


@dataclass(frozen=True)
class Quantity:
    """A figure of both runs, NaN where it is not known."""

    name: str
    first: float
    second: float
    whole: bool

    @property
    def difference(self) -> float:
        return self.second - self.first

    @property
    def words(self) -> tuple[str, str, str]:
        """First, second and difference; a dash where one is not known."""
        return self._said(self.first), self._said(self.second), self._said(self.difference, signed=True)

    def _said(self, value: float, signed: bool = False) -> str:
        sign = "+" if signed and value else ""
        return ABSENT if math.isnan(value) else f"{value:{sign},.0f}" if self.whole else f"{value:{sign},.1f}"


@dataclass(frozen=True)
class Figure:
    """A figure of a head in both runs, NaN where it is not known, with its intervals, None where there are none."""

    name: str
    first: float
    second: float
    first_interval: Interval | None
    second_interval: Interval | None

    @property
    def difference(self) -> float:
        return self.second - self.first

    @property
    def better(self) -> bool | None:
        """Whether the second run is better; None where neither is to three decimals, or where that is not known."""
        difference = self.difference if self.name in OF_THE_TARGET else round(self.difference, 3)
        if self.name in NEITHER or math.isnan(difference) or difference == 0:
            return None
        return (self.difference < 0) == (self.name in LOWER_IS_BETTER)

    @property
    def apart(self) -> bool | None:
        """Whether the intervals do not overlap; None where one is missing."""
        if self.first_interval is None or self.second_interval is None:
            return None
        return self.first_interval[1] < self.second_interval[0] or self.second_interval[1] < self.first_interval[0]


@dataclass(frozen=True)
class HeadPair:
    """The same kind of head in both runs; a side is None where that run has none."""

    kind: str
    first: RunHead | None
    second: RunHead | None

    @property
    def figures(self) -> Sequence[Figure]:
        names = [name for name in NAMES if any(name in head.figures for head in (self.first, self.second) if head)]
        return [self._figure(name) for name in names]

    def _figure(self, name: str) -> Figure:
        (first, first_interval), (second, second_interval) = (_value(head, name) for head in self.sides)
        return Figure(name, first, second, first_interval, second_interval)

    @property
    def sides(self) -> tuple[RunHead | None, RunHead | None]:
        return self.first, self.second


def _value(head: RunHead | None, name: str) -> tuple[float, Interval | None]:
    return (head.figures.get(name, math.nan), head.intervals.get(name)) if head else (math.nan, None)


@dataclass(frozen=True)
class Comparison:
    """Two runs, what a reader must know before comparing them, and what differs."""

    first: RunRecord
    second: RunRecord
    warnings: Sequence[str]
    settings: Sequence[Setting]
    quantities: Sequence[Quantity]
    heads: Sequence[HeadPair]

    def summary(self) -> dict[str, Any]:
        """What `--json` prints; what is not known is null."""
        return {
            "first": self.first.run,
            "second": self.second.run,
            "warnings": list(self.warnings),
            "spec": [asdict(setting) for setting in self.settings],
            "quantities": {each.name: _numbers(each.first, each.second, each.difference) for each in self.quantities},
            "heads": [{"kind": pair.kind, "figures": {each.name: _said(each) for each in pair.figures}} for pair in self.heads],
        }


def _numbers(first: float, second: float, difference: float) -> dict[str, float | None]:
    return {"first": number(first), "second": number(second), "difference": number(difference)}


def _said(figure: Figure) -> dict[str, Any]:
    intervals = {"first_interval": figure.first_interval, "second_interval": figure.second_interval}
    said = {name: None if value is None else [number(each) for each in value] for name, value in intervals.items()}
    return {**_numbers(figure.first, figure.second, figure.difference), **said, "better": figure.better, "apart": figure.apart}


def compare(first: RunRecord, second: RunRecord) -> Comparison:
    """What differs between two records."""
    settings = _settings(first.spec, second.spec)
    return Comparison(first, second, _warnings(first, second), settings, _quantities(first, second), _heads(first, second))


def _warnings(first: RunRecord, second: RunRecord) -> list[str]:
    found = []
    if first.run == second.run and first.store == second.store:
        found.append("Both are the same run.")
    if first.store != second.store:
        found.append(f"The runs are of different stores: {first.store} and {second.store}.")
    if first.dataset != second.dataset:
        found.append(
            f"The runs are of different datasets, {first.dataset} and {second.dataset}: their figures are of different images."
        )
    targets = [{head.targets for head in each.heads} for each in (first, second)]
    if all(targets) and targets[0] != targets[1]:
        kinds = " and ".join(", ".join(sorted(each)) for each in targets)
        found.append(f"The heads have different kinds of targets, {kinds}: their figures do not measure the same.")
    tested = [{head.rows for head in each.heads if head.rows} for each in (first, second)]
    if all(tested) and tested[0] != tested[1]:
        counts = " and ".join(", ".join(f"{rows:,}" for rows in sorted(each)) for each in tested)
        found.append(f"The heads were measured on different numbers of test images, {counts}.")
    return found


def _settings(first: Mapping[str, str], second: Mapping[str, str]) -> list[Setting]:
    names = dict.fromkeys((*first, *second))
    both = [Setting(name, first.get(name, ABSENT), second.get(name, ABSENT)) for name in names]
    return [setting for setting in both if setting.first != setting.second]


def _quantities(first: RunRecord, second: RunRecord) -> list[Quantity]:
    counts = [Quantity(name, first.counts[name], second.counts[name], whole=True) for name in SAME_COUNTS]
    speed = Quantity("images/s", first.images_per_second, second.images_per_second, whole=False)
    stages = dict.fromkeys((*first.seconds, *second.seconds))
    seconds = [
        Quantity(f"seconds of {stage}", first.seconds.get(stage, math.nan), second.seconds.get(stage, math.nan), whole=False)
        for stage in stages
    ]
    total = Quantity("seconds in all", sum(first.seconds.values()), sum(second.seconds.values()), whole=False)
    return [*counts, speed, *seconds, total]


def _heads(first: RunRecord, second: RunRecord) -> list[HeadPair]:
    """Heads of one kind and target are paired in their order."""
    sides = [_numbered(record.heads) for record in (first, second)]
    return [HeadPair(key[0], sides[0].get(key), sides[1].get(key)) for key in dict.fromkeys((*sides[0], *sides[1]))]


def _numbered(heads: Sequence[RunHead]) -> dict[tuple[str, str, int], RunHead]:
    seen: Counter[tuple[str, str]] = Counter()
    found = {}
    for head in heads:
        key = (head.kind, head.targets)
        found[(*key, seen[key])] = head
        seen[key] += 1
    return found
