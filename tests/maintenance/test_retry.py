"""Retry: quarantined images become new rows with their labels and splits; what the source cannot give stays."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from tests.maintenance.conftest import Broken
from tests.stores import empty_store, extracted, images_in, spec_for
from trunkline import open_features
from trunkline.clusters import Cluster
from trunkline.errors import DataError, RunError, StoreError
from trunkline.locations import Location
from trunkline.maintenance.retry import Retried, retry
from trunkline.manifest import Manifest
from trunkline.specs import ClusterSpec, RunSpec
from trunkline.stages.extract import extract
from trunkline.stages.scan import scan
from trunkline.store.feature_store import FeatureStore


@pytest.fixture
def spec(tmp_path: Path, digits_folder: Path, compiled_lite0: Path) -> RunSpec:
    """Twenty digits, of which one is empty, one is a page, and one is gone before it was read."""
    source = images_in(tmp_path / "images", digits_folder, 20)
    spec = spec_for(source, empty_store(tmp_path / "store", compiled_lite0))
    for name in ("empty", "page", "gone"):
        (source / f"0/{name}.png").write_bytes(b"" if name == "empty" else b"<html>")
    scan(spec)
    (source / "0/gone.png").unlink()
    with Cluster(spec.cluster) as cluster:
        extract(spec, cluster)
    return spec


def retried(spec: RunSpec, *reasons: str, run: bool = False) -> Retried:
    with Cluster(ClusterSpec(kind="inline")) as cluster:
        (done,) = retry(spec.store, reasons=reasons, cluster=cluster if run else None)
    return done


def index(spec: RunSpec) -> dict[int, tuple[str, str, str, str]]:
    found = open_features(spec.store).index().to_pylist()
    return {row["row"]: (row["id"], row["status"], row["label"], row["split"]) for row in found}


def mend(spec: RunSpec, name: str) -> None:
    image = sorted(Path(spec.source).glob("1/*.png"))[0]
    shutil.copy(image, Path(spec.source) / f"0/{name}.png")


def test_mended_images_get_new_rows_and_then_features(spec: RunSpec):
    before = index(spec)
    mend(spec, "page")
    done = retried(spec)
    assert (done.batch, sorted(done.retried), dict(done.reasons)) == (
        1,
        ["0/empty.png", "0/page.png"],
        {"empty": 1, "not-an-image": 1},
    )
    assert [(stay.id, stay.reason) for stay in done.stay] == [("0/gone.png", "missing")]
    now = index(spec)
    old = {image: row for row, (image, *_) in before.items()}
    assert [now[old[f"0/{name}.png"]][1] for name in ("empty", "page", "gone")] == ["removed", "removed", "quarantined"]
    new = {row: each for row, each in now.items() if row >= 1024}
    assert {each[0]: each[1:] for each in new.values()} == {
        image: ("pending", *before[old[image]][2:]) for image in ("0/empty.png", "0/page.png")
    }
    receipt = extracted(spec)  # its scan finds that the third is gone, and nothing new
    assert (receipt.extracted, receipt.counts.ok, dict(receipt.reasons)) == (2, 21, {"empty": 1})


def test_only_a_reason_and_extracted_at_once(spec: RunSpec):
    mend(spec, "empty")
    done = retried(spec, "empty", run=True)
    assert (done.retried, done.stay) == (("0/empty.png",), ())
    ((_, counts),) = done.extracted.items()
    assert counts == {"ok": 1, "quarantined": 0}
    assert index(spec)[1024][:2] == ("0/empty.png", "ok")
    assert dict(retried(spec, "not-an-image").reasons) == {"not-an-image": 1}


def test_an_unchanged_image_is_tried_again_too_and_ends_as_before(spec: RunSpec):
    done = retried(spec, "not-an-image", run=True)
    assert next(iter(done.extracted.values())) == {"ok": 0, "quarantined": 1}
    assert index(spec)[1024][:2] == ("0/page.png", "quarantined")


def test_where_an_image_is_gone_no_batch_is_appended(spec: RunSpec):
    done = retried(spec, "missing")
    assert (done.batch, [stay.id for stay in done.stay]) == (None, ["0/gone.png"])


def test_where_nothing_is_quarantined_no_batch_is_appended(in_zarr: Broken):
    with Cluster(ClusterSpec(kind="inline")) as cluster:
        (done,) = retry(str(in_zarr.path), cluster=cluster)
    assert (done.batch, done.retried, dict(done.extracted)) == (None, (), {})


def test_rows_that_are_ok_under_another_recipe_are_counted(spec: RunSpec):
    """The backbone once gave infinity under one recipe alone."""
    stretched = spec.model_copy(update={"preparation": spec.preparation.model_copy(update={"fit": "stretch"})})
    with Cluster(spec.cluster) as cluster:
        extract(stretched, cluster)
    store = FeatureStore.open(Location.of(spec.store))
    first, _ = store.feature_sets("digits")
    commit = first.commits.read("000000000000")
    lines = commit.table.to_pylist()
    lines[0] |= {"status": "quarantined", "reason": "non-finite"}
    edited = replace(commit, table=pa.Table.from_pylist(lines, commit.table.schema))
    (first.commits.folder / "000000000000.parquet").write(edited.to_bytes())
    done = retried(spec, "non-finite")
    assert (done.retried, done.shared) == ((lines[0]["id"],), 1)


def test_a_scan_that_appends_first_is_looked_at_again(spec: RunSpec, monkeypatch: pytest.MonkeyPatch):
    mend(spec, "page")
    append, raced = Manifest.append, []

    def beaten(manifest: Manifest, difference: object) -> Manifest:
        if not raced:
            raced.append(1)
            append(manifest, difference)
        return append(manifest, difference)

    monkeypatch.setattr(Manifest, "append", beaten)
    done = retried(spec, "not-an-image")
    assert (done.batch, done.retried) == (None, ())  # the other one gave it a row
    assert len(open_features(spec.store).dataset.manifest.batches) == 2

    def always(*_: object) -> Manifest:
        raise FileExistsError

    monkeypatch.setattr(Manifest, "append", always)
    with pytest.raises(RunError, match="Scans of digits kept appending first"):
        retried(spec, "empty")


def test_a_wrong_question_is_answered_in_words(spec: RunSpec):
    with pytest.raises(
        DataError, match=r"is quarantined as 'emtpy'\. Did you mean empty\? There are: empty, missing, not-an-image\."
    ):
        retried(spec, "emtpy")
    with pytest.raises(StoreError, match="holds no dataset 'digit'"):
        retry(spec.store, "digit")
