"""All metrics by name. Labels are names of datasets, backbones and stages, and words of fixed vocabularies: never ids, paths or runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Kind(StrEnum):
    """`counter` only grows; `live` is a sum over processes that are alive; `highest` is the greatest value ever told."""

    COUNTER = "counter"
    LIVE = "live"
    HIGHEST = "highest"


@dataclass(frozen=True)
class Figure:
    """One metric: how values of several processes become one, what it means, its labels."""

    kind: Kind
    help: str
    labels: tuple[str, ...]


FIGURES: Mapping[str, Figure] = MappingProxyType(
    {
        "trunkline_images_total": Figure(
            Kind.COUNTER,
            "Images that runs extracted, by what became of them: ok, quarantined.",
            ("dataset", "backbone", "status"),
        ),
        "trunkline_quarantined_total": Figure(Kind.COUNTER, "Images that could not be read, by reason.", ("dataset", "reason")),
        "trunkline_read_bytes_total": Figure(
            Kind.COUNTER, "Bytes of image files made into features, counted by each recipe.", ("dataset",)
        ),
        "trunkline_written_bytes_total": Figure(
            Kind.COUNTER, "Bytes of features that were written, before compression.", ("dataset",)
        ),
        "trunkline_stage_seconds_total": Figure(
            Kind.COUNTER, "Seconds by stage: scan, extract, select, fit, report.", ("dataset", "stage")
        ),
        "trunkline_extract_seconds_total": Figure(
            Kind.COUNTER,
            "Seconds of extraction by kind of work: read, decode, forward, write; summed over threads and workers.",
            ("dataset", "part"),
        ),
        "trunkline_runs_total": Figure(
            Kind.COUNTER,
            "Runs that ended: succeeded; refused, a user has to change something; failed; stopped, from outside; died, without a word.",
            ("dataset", "outcome"),
        ),
        "trunkline_runs_active": Figure(Kind.LIVE, "Runs that go on now.", ("dataset",)),
        "trunkline_shards_left": Figure(Kind.LIVE, "Shards that the runs of now have yet to extract.", ("dataset",)),
        "trunkline_last_success_timestamp_seconds": Figure(
            Kind.HIGHEST, "When a run last succeeded, in seconds since 1970.", ("dataset",)
        ),
    }
)


def series(name: str, labels: Mapping[str, str]) -> str:
    """The key of a time series. Raises KeyError for a metric that is none, ValueError for other labels than its own."""
    if set(labels) != set(FIGURES[name].labels):
        raise ValueError(f"{name} has the labels {', '.join(FIGURES[name].labels)}, and was given {', '.join(sorted(labels))}.")
    return json.dumps([name, dict(labels)], sort_keys=True)


def parsed(key: str) -> tuple[str, dict[str, str]]:
    """The name and labels of a time series that `series` or `is_known` saw."""
    name, labels = json.loads(key)
    return name, labels


def is_known(key: str) -> bool:
    """Whether this version knows a time series that lies in a folder."""
    try:
        name, labels = json.loads(key)
        return name in FIGURES and set(labels) == set(FIGURES[name].labels)
    except (ValueError, TypeError):
        return False
