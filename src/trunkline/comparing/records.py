"""What a run's `metrics.json` says. It may come from anywhere, so nothing in it is believed before it was looked at."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trunkline.metrics import Intervals
from trunkline.metrics.names import NAMES
from trunkline.metrics.parts import intervals_of_json
from trunkline.metrics.said import Said, count_of, float_of, mapping_of

LONGEST_TEXT = 4_096
MOST_SETTINGS = 1_000
DEEPEST = 6


@dataclass(frozen=True)
class RunHead:
    """A head of a run: its kind, its kind of target, test rows (0: not known), figures by name (NaN: not known), their intervals."""

    kind: str
    targets: str
    rows: int
    figures: Mapping[str, float]
    intervals: Intervals


@dataclass(frozen=True)
class RunRecord:
    """A run: counts by name, seconds by stage, images/s (NaN: nothing was extracted), heads in order, and every setting of its spec."""

    run: str
    dataset: str
    feature_set: str
    counts: Mapping[str, int]
    layer: str
    dtype: str
    seconds: Mapping[str, float]
    images_per_second: float
    heads: Sequence[RunHead]
    spec: Mapping[str, str]

    @property
    def store(self) -> str:
        """The root of the store, from the feature set's place: `<store>/features/<dataset>/<digest>`."""
        return self.feature_set.rsplit("/features/", 1)[0]

    @classmethod
    def of_json(cls, content: bytes) -> RunRecord:
        """Raises ValueError or KeyError for what is not the record of a run."""
        try:
            said = mapping_of(json.loads(content), "the file")
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        features = mapping_of(said["features"], "features")
        counts = {name: count_of(said[name], name) for name in ("rows", "ok", "quarantined", "pending", "extracted", "reused")}
        counts |= {f"features {name}": count_of(features[key], key) for name, key in (("in all", "dim"), ("kept", "kept"))}
        seconds = mapping_of(said["seconds"], "seconds")
        return cls(
            run=text_of(said["run"], "run"),
            dataset=text_of(said["dataset"], "dataset"),
            feature_set=text_of(said["feature_set"], "feature_set"),
            counts=counts,
            layer=text_of(features["layer"], "layer"),
            dtype=text_of(features["dtype"], "dtype"),
            seconds={text_of(stage, "seconds"): float_of(value, f"seconds.{stage}") for stage, value in seconds.items()},
            images_per_second=float_of(said["images_per_second"], "images_per_second"),
            heads=[_head(mapping_of(head, "heads")) for head in _list(said["heads"], "heads")],
            spec=dict(_settings(mapping_of(said.get("spec", {}), "spec"))),
        )


def text_of(value: Any, name: str) -> str:
    """Raises ValueError for what is no text, or far too much of it."""
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise ValueError(f"{name} is no text of at most {LONGEST_TEXT:,} characters")
    return value


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name} is no list")
    return value


def _head(said: Said) -> RunHead:
    """Of a run from before heads had more figures than two, too."""
    return RunHead(
        kind=text_of(said["kind"], "kind"),
        targets=text_of(said.get("targets", "classes"), "targets"),
        rows=count_of(said.get("rows", 0), "rows"),
        figures={name: float_of(said[name], name) for name in NAMES if name in said},
        intervals=intervals_of_json(said.get("intervals", {})),
    )


def _settings(said: Said) -> Iterator[tuple[str, str]]:
    for number, (name, value) in enumerate(_flat(said, (), 0)):
        if number >= MOST_SETTINGS:
            raise ValueError(f"spec holds more than {MOST_SETTINGS:,} settings")
        yield ".".join(name), value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT] + "…"


def _flat(value: Any, name: tuple[str, ...], depth: int) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each setting by its place; a list of plain values is one setting."""
    if isinstance(value, Mapping) and value and depth < DEEPEST:
        for key, inner in value.items():
            yield from _flat(inner, (*name, str(key)), depth + 1)
    elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value) and depth < DEEPEST:
        for place, inner in zip(_names(value), value, strict=True):
            yield from _flat(inner, (*name, place), depth + 1)
    else:
        yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _names(values: Sequence[Any]) -> list[str]:
    """Of heads by their kind, so that another one before them changes nothing; by number where a kind is there twice, or none."""
    kinds = [str(value.get("kind", "")) if isinstance(value, Mapping) else "" for value in values]
    return [kind if kind and kinds.count(kind) == 1 else str(number) for number, kind in enumerate(kinds, 1)]
