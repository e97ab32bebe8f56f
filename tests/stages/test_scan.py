"""Scan: what is new, changed, gone, renamed; labels and splits; and scans that race or die."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.manifests import said
from tests.stores import images_in, objects
from trunkline.errors import RunError, SourceError
from trunkline.locations import Location
from trunkline.manifest import Manifest
from trunkline.specs import RunSpec
from trunkline.stages import scan as scanning
from trunkline.stages.scan import ScanReceipt, scan
from trunkline.store.feature_store import Dataset, FeatureStore


def dataset_of(spec: RunSpec) -> Dataset:
    return FeatureStore.open(Location.of(spec.store)).dataset(spec.dataset_name)


def counts(receipt: ScanReceipt) -> tuple[int, int, int, int]:
    return receipt.added, receipt.changed, receipt.removed, receipt.unchanged


def live_ids(spec: RunSpec) -> list[str]:
    table = dataset_of(spec).manifest.images().to_pylist()
    return sorted(row["id"] for row in table if not row["removed"])


def first_file(images: Path) -> Path:
    return min(images.glob("*/*.png"))


def test_new_images(spec: RunSpec, images: Path):
    told = []
    receipt = scan(spec, told.append)
    assert counts(receipt) == (80, 0, 0, 0)
    assert (receipt.dataset, receipt.batch, receipt.labels_changed) == ("digits", 0, True)
    assert (told[-1].stage, told[-1].done, told[-1].total) == ("scan", 80, 80)
    assert live_ids(spec) == sorted(str(file.relative_to(images)) for file in images.glob("*/*.png"))


def test_nothing_new_writes_nothing(spec: RunSpec):
    scan(spec)
    before = objects(Path(spec.store))
    receipt = scan(spec)
    assert counts(receipt) == (0, 0, 0, 80)
    assert (receipt.batch, receipt.labels_changed) == (None, False)
    assert objects(Path(spec.store)) == before


def test_changed_removed_added_and_renamed(spec: RunSpec, images: Path, digits_folder: Path):
    scan(spec)
    files = sorted(images.glob("*/*.png"))
    os.utime(files[0], ns=(1, 1))  # changed: a new time is enough
    files[1].unlink()
    files[2].rename(files[2].with_name("renamed.png"))
    images_in(images, digits_folder, 3, first=80)
    receipt = scan(spec)
    assert counts(receipt) == (3, 1, 1, 77)
    assert receipt.renamed == 1
    assert receipt.batch == 1
    assert live_ids(spec) == sorted(str(file.relative_to(images)) for file in images.glob("*/*.png"))


def test_an_image_that_comes_back_gets_a_new_row(spec: RunSpec, images: Path):
    scan(spec)
    content = first_file(images).read_bytes()
    place = first_file(images)
    place.unlink()
    assert counts(scan(spec)) == (0, 0, 1, 79)
    place.write_bytes(content)
    assert counts(scan(spec)) == (1, 0, 0, 79)
    table = dataset_of(spec).manifest.images().to_pylist()
    name = str(place.relative_to(images))
    assert [row["removed"] for row in table if row["id"] == name] == [True, False]


def test_a_mass_removal_is_refused_and_marks_nothing(spec: RunSpec, images: Path):
    scan(spec)
    before = objects(Path(spec.store))
    for file in sorted(images.glob("*/*.png"))[:9]:
        file.unlink()
    with pytest.raises(SourceError, match=r"9 of 80 images are gone from .*, more than 10%: is a disk or bucket not mounted\?"):
        scan(spec)
    assert objects(Path(spec.store)) == before
    assert counts(scan(spec.model_copy(update={"max_removed_fraction": 1.0}))) == (0, 0, 9, 71)


def test_a_tenth_may_go(spec: RunSpec, images: Path):
    scan(spec)
    for file in sorted(images.glob("*/*.png"))[:8]:
        file.unlink()
    assert counts(scan(spec)) == (0, 0, 8, 72)


def test_all_images_changed_is_no_removal(spec: RunSpec, images: Path):
    scan(spec)
    for file in images.glob("*/*.png"):
        os.utime(file, ns=(1, 1))
    assert counts(scan(spec)) == (0, 80, 0, 0)


def test_an_empty_source_makes_no_store(spec: RunSpec, images: Path):
    shutil.rmtree(spec.store)
    for file in images.glob("*/*.png"):
        file.rename(file.with_suffix(".txt"))
    with pytest.raises(SourceError, match=r"holds no images \(.jpg .jpeg .png .* at any depth\)"):
        scan(spec)
    assert not Path(spec.store).exists()


def test_all_images_may_go_where_it_is_meant(spec: RunSpec, images: Path):
    scan(spec)
    for file in images.glob("*/*.png"):
        file.unlink()
    with pytest.raises(
        SourceError, match=r"holds no images .* If all images are meant to be gone, run again with --max-removed 1"
    ):
        scan(spec)
    assert len(live_ids(spec)) == 80
    assert counts(scan(spec.model_copy(update={"max_removed_fraction": 1.0}))) == (0, 0, 80, 0)
    assert live_ids(spec) == []


def test_labels_may_come_later(spec: RunSpec):
    assert scan(spec.model_copy(update={"labels": "none"})).labels_changed  # the splits
    assert set(said(dataset_of(spec).labels, 0, 80)) == {None}
    splits = said(dataset_of(spec).splits, 0, 80)
    receipt = scan(spec)
    assert (receipt.batch, receipt.labels_changed) == (None, True)
    assert set(said(dataset_of(spec).labels, 0, 80)) == set("0123456789")
    assert said(dataset_of(spec).splits, 0, 80) == splits


def test_an_assigned_split_stays(spec: RunSpec, images: Path, digits_folder: Path):
    scan(spec)
    before = said(dataset_of(spec).splits, 0, 80)
    assert set(before) == {"train", "test"}
    images_in(images, digits_folder, 20, first=80)
    other = spec.model_copy(update={"split": spec.split.model_copy(update={"seed": 7, "test_fraction": 0.9})})
    scan(other)
    assert said(dataset_of(spec).splits, 0, 80) == before
    assert said(dataset_of(spec).splits, 1024, 1044).count("test") > 10


def test_a_renamed_image_keeps_its_split(spec: RunSpec, images: Path):
    scan(spec)
    manifest = dataset_of(spec).manifest
    before = dict(zip(manifest.images()["id"].to_pylist(), said(dataset_of(spec).splits, 0, 80), strict=True))
    renamed = {}
    for number, file in enumerate(sorted(images.glob("*/*.png"))[::10]):
        place = file.with_name(f"another name {number}.png")
        file.rename(place)
        renamed[f"{place.parent.name}/{place.name}"] = before[f"{file.parent.name}/{file.name}"]
    assert "test" in renamed.values()
    assert scan(spec).renamed == 8
    after = dataset_of(spec).manifest.images().slice(80)["id"].to_pylist()
    assert dict(zip(after, said(dataset_of(spec).splits, 1024, 1032), strict=True)) == renamed


class Killed(BaseException):
    """The process dies here."""


def test_killed_between_batch_and_labels(spec: RunSpec, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(scanning, "annotate", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            scan(spec)
    assert dataset_of(spec).manifest.rows == 80
    assert dataset_of(spec).labels.names() == []
    receipt = scan(spec)
    assert (receipt.batch, receipt.labels_changed, receipt.unchanged) == (None, True, 80)
    assert None not in said(dataset_of(spec).labels, 0, 80) + said(dataset_of(spec).splits, 0, 80)


def test_killed_between_labels_and_splits(spec: RunSpec, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(Dataset, "splits", property(lambda _: (_ for _ in ()).throw(Killed)))
        with pytest.raises(Killed):
            scan(spec)
    assert scan(spec).labels_changed
    assert None not in said(dataset_of(spec).labels, 0, 80) + said(dataset_of(spec).splits, 0, 80)


def test_a_scan_that_lost_the_race_compares_again(spec: RunSpec, monkeypatch: pytest.MonkeyPatch):
    """Another scan of the same images appends the same batch first."""
    append, tries = Manifest.append, []

    def second(manifest: Manifest, difference: object) -> Manifest:
        tries.append(difference)
        append(manifest, difference)
        return append(manifest, difference)

    monkeypatch.setattr(Manifest, "append", second)
    receipt = scan(spec)
    assert (len(tries), receipt.batch, receipt.unchanged) == (1, None, 80)
    assert dataset_of(spec).manifest.rows == 80


def test_a_scan_that_always_loses_gives_up(spec: RunSpec, monkeypatch: pytest.MonkeyPatch):
    def second(*_: object) -> Manifest:
        raise FileExistsError

    monkeypatch.setattr(Manifest, "append", second)
    with pytest.raises(RunError, match=r"Other scans of digits kept appending"):
        scan(spec)
