"""Backfills over a stubbed backbone: what is planned, what a slice does, how limits end it, and that a second one does nothing."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.model import stub
from tests.stores import INLINE, ROWS, images_in, spec_for
from trunkline import extraction
from trunkline.clusters import Cluster
from trunkline.errors import DataError, SpecError, StoreError
from trunkline.locations import Location
from trunkline.manifest import Batch, Manifest
from trunkline.progress import Step
from trunkline.specs import BackfillSpec, validated
from trunkline.stages import backfill as backfilling
from trunkline.stages import backfill_opening
from trunkline.stages.backfill import backfill, backfill_slice, cost_of, hours_left
from trunkline.stages.backfill_pace import Pace
from trunkline.stages.backfill_plan import BackfillPlan, plan_backfill
from trunkline.stages.scan import scan
from trunkline.store.feature_store import FeatureStore
from trunkline.tables import parquet_bytes

TWO = [{}, {"dtype": "float16"}]
BATCHES = {0: (0, 150), 1: (1024, 1074), 2: (2048, 2148)}


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory, digits_folder: Path) -> Path:
    """Three batches of 150, 50 and 100 digits; of the first one an image was removed before anything was read."""
    folder = tmp_path_factory.mktemp("batches")
    spec = spec_for(folder / "images", folder / "store")
    for first, count in ((0, 150), (150, 50), (200, 100)):
        images_in(folder / "images", digits_folder, count, first)
        if first == 200:
            (folder / "images/0/0000.png").unlink()
        scan(spec)
    return folder


@pytest.fixture
def store(scanned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    stub.install(monkeypatch)
    monkeypatch.setattr(extraction, "_workers", {})
    for name in ("compiled", "committed_backbone"):
        monkeypatch.setattr(backfill_opening, name, stub._backbone)
    return shutil.copytree(scanned / "store", tmp_path / "store")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(INLINE) as opened:
        yield opened


def spec_of(store: Path, **said: Any) -> BackfillSpec:
    fixed = {
        "store": str(store),
        "recipes": TWO,
        "storage": {"rows_per_shard": ROWS},
        "slice_images": 64,
        "cluster": {"kind": "inline"},
    }
    return validated(BackfillSpec, fixed | said, "The test")


def spans(plan: BackfillPlan) -> list[tuple[int, int]]:
    return [(each.first, each.stop) for each in plan.slices]


def test_what_is_missing_is_cut_into_slices_and_only_feature_sets_are_made(store: Path, cluster: Cluster):
    plan = plan_backfill(spec_of(store), cluster)
    assert spans(plan) == [(0, 128), (128, 1074), (2048, 2112), (2112, 2148)]
    assert [each.images for each in plan.slices] == [127, 72, 64, 36]
    assert [each.number for each in plan.slices] == [1, 2, 3, 4]
    assert (plan.images, plan.chosen, plan.later, plan.seconds) == (299, 299, 0, None)
    assert {count for each in plan.slices[:1] for count in each.to_do.values()} == {127}
    assert sum(each.bytes for each in plan.slices) == sum(
        row["size"]
        for row in FeatureStore.open(Location.of(store)).dataset("digits").manifest.images().to_pylist()
        if not row["removed"]
    )
    assert plan.headline == "299 images of digits under 2 recipes, in 4 slices."
    sets = FeatureStore.open(Location.of(store)).feature_sets("digits")
    assert [features.commits.done() for features in sets] == [frozenset(), frozenset()]
    assert not any((features.location / "leases").names() for features in sets)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"rows": "0:100"}, [(0, 128)]),
        ({"rows": "100:1030"}, [(64, 128), (128, 1074)]),
        ({"rows": "2100:"}, [(2048, 2112), (2112, 2148)]),
        ({"batches": "1:2"}, [(1024, 1074)]),
        ({"batches": "1:"}, [(1024, 2112), (2112, 2148)]),
        ({"batches": ":1", "newest_first": True}, [(64, 150), (0, 64)]),
        ({"newest_first": True, "slice_images": 1000}, [(0, 2148)]),
    ],
)
def test_rows_and_batches_choose(store: Path, cluster: Cluster, said: dict[str, Any], found: list[tuple[int, int]]):
    assert spans(plan_backfill(spec_of(store, **said), cluster)) == found


def test_days_choose_batches_by_when_they_were_scanned(store: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch):
    days = {0: 1, 1: 5, 2: 9}
    monkeypatch.setattr(Batch, "scanned", property(lambda self: datetime(2026, 3, days[self.number], 23, 59, tzinfo=UTC)))
    assert spans(plan_backfill(spec_of(store, since="2026-03-05"), cluster)) == [(1024, 2112), (2112, 2148)]
    assert spans(plan_backfill(spec_of(store, since="2026-03-02", until="2026-03-05"), cluster)) == [(1024, 1074)]
    assert spans(plan_backfill(spec_of(store, until="2026-03-01"), cluster)) == [(0, 128), (128, 150)]
    with pytest.raises(DataError, match=r"No batch was scanned since 2026-03-10 \(UTC\); .* between 2026-03-01 and 2026-03-09"):
        plan_backfill(spec_of(store, since="2026-03-10"), cluster)
    with pytest.raises(DataError, match=r"No batch was scanned from 2026-03-06 to 2026-03-08"):
        plan_backfill(spec_of(store, since="2026-03-06", until="2026-03-08"), cluster)
    with pytest.raises(DataError, match=r"No batch was scanned until 2026-02-01"):
        plan_backfill(spec_of(store, until="2026-02-01"), cluster)


def test_a_batch_says_when_it_was_scanned_and_an_older_one_when_its_file_was_written(store: Path):
    batch = Manifest.open(Location.of(store / "datasets/digits/manifest")).batches[0]
    assert abs((datetime.now(UTC) - batch.scanned).total_seconds()) < 3600
    assert batch.footer.metadata[b"trunkline.scanned"].decode() == batch.scanned.isoformat()
    old = replace(batch, footer=pq.read_metadata(io.BytesIO(parquet_bytes(pa.table({"row": [1]})))))
    os.utime(batch.location.path, (1e9, 1e9))
    assert old.scanned == datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)


def test_all_of_it_and_then_nothing(store: Path, cluster: Cluster):
    told: list[Step] = []
    stub.passes.clear()
    receipt = backfill(spec_of(store, price_per_worker_hour=2.0), cluster, told.append)
    assert (receipt.ended, receipt.images, receipt.left, len(receipt.slices)) == ("done", 299, 0, 4)
    assert {tuple(sorted(counts.items())) for counts in receipt.slices[0].extracted.values()} == {
        (("ok", 127), ("quarantined", 0))
    }
    assert receipt.cost == pytest.approx(2.0 * receipt.worker_hours)
    assert receipt.in_words().startswith("299 images in 4 slices, ")
    steps = [step for step in told if step.stage == "backfill" and step.total]
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert (steps[-1].done, steps[-1].total, steps[-1].note) == (299, 299, "slice 4 of 4")
    for features in FeatureStore.open(Location.of(store)).feature_sets("digits"):
        assert len(features.commits.done()) == 6
    ran = stub.passes.total()
    again = backfill(spec_of(store), cluster, told.append)
    assert (again.ended, again.images, again.slices, again.cost) == ("nothing", 0, (), None)
    assert again.in_words() == "Nothing to do: all 299 images of these rows have features under 2 recipes."
    assert stub.passes.total() == ran


def test_without_recipes_every_feature_set_there_is_is_brought_up_to_date(store: Path, cluster: Cluster):
    with pytest.raises(DataError, match=r"digits in .* has no feature sets yet, so recipes must say which to make"):
        plan_backfill(spec_of(store, recipes=[]), cluster)
    backfill(spec_of(store, batches="0:1"), cluster)
    plan = plan_backfill(spec_of(store, recipes=[]), cluster)
    assert (len(plan.recipes), spans(plan)) == (2, [(1024, 2112), (2112, 2148)])
    assert plan.seconds is not None
    assert plan.seconds > 0
    assert backfill(spec_of(store, recipes=[]), cluster).images == 150


def test_a_limit_of_images_ends_it_and_the_next_one_goes_on(store: Path, cluster: Cluster):
    first = backfill(spec_of(store, max_images=130), cluster)
    assert (first.ended, first.images, first.left) == ("images", 149, 150)
    assert "max_images is reached, and 150 images are left: start the same backfill again to go on" in first.in_words()
    assert first.plan.headline == "149 images of digits under 2 recipes, in 2 slices; 150 more are left for later."
    second = backfill(spec_of(store, max_images=150), cluster)
    assert (second.ended, second.images, second.left) == ("done", 150, 0)


def test_a_limit_of_hours_ends_it_between_and_within_slices(store: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch):
    clock = [0.0]
    monkeypatch.setattr(backfilling.time, "monotonic", lambda: clock[0])
    run = stub._Runtime.run
    monkeypatch.setattr(stub._Runtime, "run", lambda self, pixels: clock.__setitem__(0, clock[0] + 100.0) or run(self, pixels))
    receipt = backfill(spec_of(store, max_hours=0.5, recipes=[{}]), cluster)  # 18 batches of 8: within the second slice
    assert (receipt.ended, receipt.slices[-1].stopped, len(receipt.slices)) == ("hours", True, 2)
    assert 0 < receipt.left < 299
    assert "max_hours are over, and " in receipt.in_words()
    sets = FeatureStore.open(Location.of(store)).feature_sets("digits")
    assert sum(len(features.commits.done()) for features in sets) == 3  # what was begun is finished
    assert backfill(spec_of(store, recipes=[{}]), cluster).ended == "done"


def test_a_slice_alone_does_its_rows_and_then_nothing(store: Path, cluster: Cluster):
    receipt = backfill_slice(spec_of(store), 1024, 2048, cluster)
    assert (receipt.images, receipt.stopped, receipt.workers) == (50, False, 1)
    assert (receipt.first, receipt.stop, receipt.reasons) == (1024, 2048, {})
    assert receipt.images_per_second is not None
    again = backfill_slice(spec_of(store), 1024, 2048, cluster)
    assert (again.images, again.workers, again.worker_hours, again.images_per_second) == (0, 0, 0.0, None)
    assert spans(plan_backfill(spec_of(store), cluster)) == [(0, 128), (128, 2112), (2112, 2148)]


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ({"dataset": "digit"}, StoreError, r"holds no dataset 'digit'. Did you mean digits"),
        ({"rows": "5000:"}, DataError, r"rows 5000: begin beyond the last row; the dataset has rows 0 to 2,147"),
        ({"batches": "3:"}, DataError, r"batches 3: begin beyond the last one; the dataset has batches 0 to 2"),
        (
            {"recipes": [{}, {"dtype": "float32"}]},
            SpecError,
            r"efficientnet-lite0 and efficientnet-lite0 mean the same features",
        ),
    ],
)
def test_what_is_not_there_is_said(store: Path, cluster: Cluster, said: dict[str, Any], kind: type[Exception], words: str):
    with pytest.raises(kind, match=words):
        plan_backfill(spec_of(store, **said), cluster)


def test_a_store_with_none_or_several_datasets_asks_for_one(store: Path, cluster: Cluster, tmp_path: Path, digits_folder: Path):
    FeatureStore.create(Location.of(tmp_path / "new"))
    with pytest.raises(StoreError, match=r"holds no dataset yet. Run `trunkline scan` first"):
        plan_backfill(spec_of(tmp_path / "new"), cluster)
    other = images_in(tmp_path / "other", digits_folder, 3)
    scan(spec_for(other, store, dataset="more"))
    with pytest.raises(StoreError, match=r"holds several datasets: digits, more. Name one of them as dataset"):
        plan_backfill(spec_of(store), cluster)
    assert plan_backfill(spec_of(store, dataset="more"), cluster).images == 3
    (store / "datasets/more/manifest/batch-000000.parquet").unlink()
    with pytest.raises(DataError, match=r"The dataset more in .* has no images yet"):
        plan_backfill(spec_of(store, dataset="more"), cluster)


def test_a_source_that_is_away_is_said_before_workers_start(store: Path, cluster: Cluster):
    (store / "datasets/digits/source.json").write_text('{"root": "/not/there"}')
    with pytest.raises(Exception, match=r"/not/there does not exist"):
        backfill_slice(spec_of(store), 0, 128, cluster)


def test_an_estimate_shares_the_cores_among_decoding_and_forward_passes():
    pace = Pace(read=0.001, decode=0.004, forward=0.003, write=0.001, workers=2, threads=2, readers=2)
    assert pace.seconds(1000) == pytest.approx(3.0)
    slow = Pace(read=0.1, decode=0.004, forward=0.003, write=0.001, workers=2, threads=2, readers=16)
    assert slow.seconds(1000) == pytest.approx(3.125)


def test_hours_and_costs():
    spec = BackfillSpec(store="/s", max_hours=2.0, price_per_worker_hour=1.5)
    assert [hours_left(spec, seconds) for seconds in (0.0, 3600.0, 7200.0, 1e9)] == [2.0, 1.0, 0.0, 0.0]
    assert hours_left(BackfillSpec(store="/s"), 1e9) is None
    assert (cost_of(spec, 4.0), cost_of(BackfillSpec(store="/s"), 4.0)) == (6.0, None)
