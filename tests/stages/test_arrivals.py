"""Arrivals: which dataset a place belongs to, and the spec that brings it up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stores import copy_of, spec_for
from trunkline.errors import SourceError
from trunkline.specs import ClusterSpec, RunSpec
from trunkline.stages.arrivals import Arrival, dataset_of, spec_of

ROOTS = {
    "all": "s3://bucket/photos",
    "inner": "s3://bucket/photos/inner",
    "globbed": "s3://bucket/scans/*/front-*.png",
    "table": "/lists/images.csv",
    "twin": "s3://bucket/photos/inner",
}


@pytest.mark.parametrize(
    ("uri", "dataset"),
    [
        ("s3://bucket/photos", "all"),
        ("s3://bucket/photos/2026-11-26", "all"),
        ("s3://bucket/photos/inner/x", "inner"),  # the deepest; of equal ones the first
        ("s3://bucket/photos-of-others", None),
        ("s3://bucket", None),
        ("s3://other/photos", None),
        ("s3://bucket/scans/monday", "globbed"),
        ("s3://bucket/scans", "globbed"),
        ("s3://bucket/scans/*/front-*.png", "globbed"),
        ("/lists/images.csv", "table"),
        ("/lists/other.csv", None),
    ],
)
def test_a_place_belongs_to_the_deepest_source_that_holds_it(uri: str, dataset: str | None) -> None:
    assert dataset_of(uri, ROOTS) == dataset


def test_everything_lies_below_the_root() -> None:
    assert dataset_of("/anywhere", {"d": "/"}) == "d"


@pytest.fixture
def own(finished_store: Path, tmp_path: Path) -> RunSpec:
    """The spec of a store's only dataset, digits."""
    return spec_for(finished_store.parent / "images", copy_of(finished_store, tmp_path / "store"))


def test_the_specs_own_dataset_is_scanned_whole_by_the_spec(own: RunSpec) -> None:
    arrived = spec_of(own, Arrival(source=f"{own.source}/3/"))
    assert arrived == own.model_copy(update={"source_kind": "folder"})


def test_another_dataset_is_run_as_it_was_run_last(own: RunSpec) -> None:
    cluster = ClusterSpec(kind="local", workers=3)
    mine = RunSpec(source="/mine", store=own.store, backbone="resnet50", cluster=cluster)
    arrived = spec_of(mine, Arrival(source=f"file://{own.source}/0"))
    assert (arrived.source, arrived.dataset, arrived.backbone, arrived.heads) == (
        own.source,
        "digits",
        "efficientnet-lite0",
        own.heads,
    )
    assert arrived.cluster == cluster


def test_a_dataset_without_a_finished_run_is_run_by_the_spec(own: RunSpec) -> None:
    for record in Path(own.store).glob("runs/*/metrics.json"):
        record.write_text('{"dataset": "digits", "spec": {"of": "another version"}}')
    mine = RunSpec(source="/mine", store=own.store, backbone="resnet50")
    arrived = spec_of(mine, Arrival(source=own.source))
    assert (arrived.dataset, arrived.backbone) == ("digits", "resnet50")


def test_an_unknown_place_becomes_a_dataset_of_its_own(own: RunSpec, tmp_path: Path) -> None:
    new = spec_of(own, Arrival(source="s3://bucket/new/"))
    assert (new.source, new.dataset, new.dataset_name, new.store) == ("s3://bucket/new", None, "new", own.store)
    named = spec_of(own, Arrival(source="/new", dataset="mine"))
    assert named.dataset == "mine"
    elsewhere = spec_of(own, Arrival(source=own.source, store=str(tmp_path / "nowhere")))
    assert (elsewhere.store, elsewhere.dataset) == (str(tmp_path / "nowhere"), None)


def test_a_name_that_belongs_to_another_source_is_left_to_the_scan_to_refuse(own: RunSpec) -> None:
    arrived = spec_of(own, Arrival(source="/elsewhere", dataset="digits"))
    assert (arrived.source, arrived.dataset) == ("/elsewhere", "digits")


def test_an_event_without_a_source_is_refused(own: RunSpec) -> None:
    with pytest.raises(SourceError, match=r"names no source.*\{\"source\": \"s3://bucket/folder\"\}"):
        spec_of(own, Arrival())
