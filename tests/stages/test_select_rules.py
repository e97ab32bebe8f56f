"""Select over stores with made features: duplicates with and without workers, drift of later batches, refits, and bad input."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_selection import VarianceThreshold

from tests.manifests import appended, say
from tests.reading.made import Made, ids
from trunkline import moments, open_features, selection
from trunkline.clusters import Cluster
from trunkline.errors import CorruptStore, DataError
from trunkline.locations import Location
from trunkline.selection import LayerMask, Mask, Move
from trunkline.specs import ClusterSpec, SelectSpec
from trunkline.stages import duplicates
from trunkline.stages.select import SelectReceipt, select_from
from trunkline.variance_filter import Fate

DIM = 9
FIRST = 300  # images of the first batch


@dataclass(frozen=True)
class Drawn(Made):
    """Random features; 5 is 2 upside down, 7 never changes, 8 is never active; from row `moved_from` on all are one deviation higher."""

    dims: dict[str, int] = field(default_factory=lambda: {"pool": DIM})
    moved_from: int = 1 << 40

    def values(self, rows: np.ndarray, layer: str = "pool") -> np.ndarray:  # noqa: ARG002
        x = np.stack([np.random.default_rng(int(row)).standard_normal(DIM) for row in rows])
        x *= np.geomspace(0.01, 10, DIM)
        x[rows >= self.moved_from] += np.geomspace(0.01, 10, DIM)
        x[:, 5], x[:, 7], x[:, 8] = -3 * x[:, 2], 4.0, 0.0
        return x.astype(np.float32)

    def batch(self, images: int) -> None:
        """Scan and extract so many more."""
        batches = len(self.dataset.manifest.batches)
        self.scan(ids(f"batch{batches}", images))
        self.extract()

    def select(self, spec: SelectSpec | None = None, refit: bool = False, **given: object) -> SelectReceipt:
        rule = spec or SelectSpec(threshold=0.0)
        return select_from(open_features(self.uri), self.masks / rule.digest(), rule, 0.5, refit, **given)  # type: ignore[arg-type]

    @property
    def masks(self) -> Location:
        return Location.of(self.place) / "masks/fruit" / self.feature_set.recipe.digest()

    def training(self) -> np.ndarray:
        return open_features(self.uri).numpy("train")[0].astype(np.float64)


@pytest.fixture
def drawn(tmp_path: Path) -> Drawn:
    made = Drawn(tmp_path / "store", moved_from=4096)
    made.batch(FIRST)
    return made


def layer_of(receipt: SelectReceipt) -> LayerMask:
    return selection.load(Location(receipt.mask)).layers["pool"]


def mask_of(receipt: SelectReceipt) -> Mask:
    return selection.load(Location(receipt.mask))


@pytest.mark.parametrize("threshold", [0.0, 1e-3, 0.5])
def test_scikit_learn_keeps_the_same_of_what_is_stored(drawn: Drawn, threshold: float):
    drawn.batch(100)
    theirs = VarianceThreshold(threshold).fit(drawn.training())
    mask = layer_of(drawn.select(SelectSpec(threshold=threshold)))
    np.testing.assert_array_equal(mask.kept, theirs.get_support())
    np.testing.assert_allclose(mask.variances, drawn.training().var(axis=0), rtol=1e-6, atol=0)


def test_the_mask_says_where_it_belongs_and_why_features_went(drawn: Drawn):
    receipt = drawn.select(SelectSpec(threshold=0.0, duplicates=0.99))
    mask = mask_of(receipt)
    assert (mask.recipe, mask.stop, mask.rows) == (drawn.feature_set.recipe.digest(), FIRST, 200)
    layer = mask.layers["pool"]
    assert layer.fates is not None
    assert layer.duplicate_of is not None
    assert layer.fates.tolist() == [0, 0, 0, 0, 0, Fate.DUPLICATE, 0, Fate.VARIANCE, Fate.INACTIVE]
    assert layer.duplicate_of.tolist() == [-1, -1, -1, -1, -1, 2, -1, -1, -1]
    assert receipt.dropped == {"too little variance": 1, "zero in too many images": 1, "correlates with an earlier one": 1}
    np.testing.assert_allclose(layer.means, drawn.training().mean(axis=0), rtol=1e-9)
    assert json.loads(json.dumps(asdict(receipt)))["dropped"] == receipt.dropped


def test_workers_find_the_same_duplicates_and_are_started_only_for_much(drawn: Drawn, monkeypatch: pytest.MonkeyPatch):
    rule = SelectSpec(threshold=0.0, duplicates=0.99)
    with Cluster(ClusterSpec(kind="local", workers=2)) as cluster:
        alone = drawn.select(rule, cluster=cluster)
        assert cluster._executor is None, "300 images are not worth two processes"
        monkeypatch.setattr(duplicates, "BYTES_FOR_WORKERS", 0)
        assert drawn.select(SelectSpec(threshold=0.0), cluster=cluster).kept == 7
        assert cluster._executor is None, "no duplicates were asked for"
        together = drawn.select(rule, refit=True, cluster=cluster)
        assert cluster._executor is not None
    assert (together.mask != alone.mask, together.digest) == (True, alone.digest)


def test_more_features_than_can_be_compared_are_refused_before_anything_is_read(tmp_path: Path):
    wide = Made(tmp_path / "store", {"pool": 3, "maps": 8193})
    wide.scan(ids("plum", 2))  # nothing is extracted: that would be said next
    with pytest.raises(DataError, match=r"maps has 8,193 of them: more than 8,192"):
        select_from(open_features(wide.uri), Location.of(tmp_path / "masks"), SelectSpec(duplicates=0.9), 0.5, refit=True)


def test_a_later_batch_that_moved_is_said(drawn: Drawn):
    first = drawn.select()
    assert [(each.batch, each.rows, each.overall, each.warned) for each in first.drift] == [(0, 200, 0.0, False)]
    for _ in range(3):
        drawn.batch(60)
    drawn.batch(90)
    again = drawn.select()
    assert again.cached
    assert [(each.batch, each.rows) for each in again.drift] == [(0, 200), (1, 40), (2, 40), (3, 40), (4, 60)]
    assert [each.warned for each in again.drift] == [False, False, False, False, True]
    assert max(each.overall for each in again.drift[:4]) < 0.3
    assert again.drift[4].overall == pytest.approx(1.0, abs=0.25)
    assert again.drift[4].worst[0][0] not in (7, 8)
    (note,) = again.notes
    assert note.startswith("Batch 4 (60 training images) has drifted by ")
    assert json.loads(json.dumps(asdict(again)))["drift"][4]["warned"] is True


def test_drift_is_numpys(drawn: Drawn):
    mask = layer_of(drawn.select())
    drawn.batch(90)
    found = drawn.select().drift[1]
    features = open_features(drawn.uri)
    x = features.numpy("train", batch=1)[0].astype(np.float64)[:, mask.kept]
    trained = features.numpy("train", batch=0)[0].astype(np.float64)[:, mask.kept]
    moved = (x.mean(axis=0) - trained.mean(axis=0)) / trained.std(axis=0)
    assert found.overall == pytest.approx(np.sqrt(max(0.0, np.square(moved).mean() - 1 / 60 - 1 / 200)), rel=1e-6)
    worst = np.argsort(-np.abs(moved))[:5]
    assert [number for number, _ in found.worst] == np.flatnonzero(mask.kept)[worst].tolist()
    assert [shift for _, shift in found.worst] == pytest.approx(moved[worst].tolist(), rel=1e-6)


def test_after_a_refit_the_batch_belongs_to_the_reference(drawn: Drawn):
    drawn.select()
    while drawn.dataset.manifest.rows < 4096:
        drawn.batch(60)
    drawn.batch(90)
    assert drawn.select().notes
    refitted = drawn.select(refit=True)
    assert refitted.notes == ()
    assert refitted.drift[-1].overall > 0.5, "it still lies apart, and the mask knows it"


def test_a_refit_says_how_the_mask_moved(drawn: Drawn):
    rule = SelectSpec(threshold=0.0)
    first = drawn.select(rule)
    assert (first.moved, first.kept) == (None, 7)
    assert drawn.select(rule).moved is None
    assert drawn.select(rule, refit=True).moved == Move(kept_before=7, kept_after=7, dropped=0, added=0, overlap=1.0)
    before = layer_of(first)
    kept = before.kept.copy()
    kept[[0, 1, 8]] = [False, False, True]
    selection.create(drawn.masks / rule.digest(), 200, {"pool": replace(before, kept=kept)})
    assert drawn.select(rule, refit=True).moved == Move(kept_before=6, kept_after=7, dropped=1, added=2, overlap=5 / 8)


def test_moments_of_a_pinned_masks_own_rows_are_not_made_again_for_drift(drawn: Drawn):
    """After a change of splits the batches that the mask was fitted on have no drift: reading them again would tell nothing new."""
    drawn.select()
    drawn.batch(60)
    drawn.select()
    stored = drawn.feature_set.moments.names()
    say(drawn.dataset.splits, {0: "test"})
    receipt = drawn.select()
    assert ([each.batch for each in receipt.drift], receipt.reread) == ([1], 0)
    assert drawn.feature_set.moments.names() == stored
    say(drawn.dataset.splits, {1024: "test"})
    receipt = drawn.select()
    assert ([(each.batch, each.rows) for each in receipt.drift], receipt.reread) == ([(1, 39)], 1)


def test_batches_without_training_images_have_no_drift(drawn: Drawn):
    drawn.select()
    appended(drawn.dataset.manifest, removed=[0])
    drawn.batch(30)
    say(drawn.dataset.splits, dict.fromkeys(range(1024, 1054), "test"))
    assert [each.batch for each in drawn.select(refit=True).drift] == [0]


def test_damaged_moments_leave_a_pinned_mask_alone_and_are_said(drawn: Drawn):
    drawn.select()
    place = drawn.feature_set.moments / drawn.feature_set.moments.names()[0]
    place.write(place.read()[:-40])
    (note,) = drawn.select().notes
    assert note.startswith("Drift was not measured: ")
    assert f"{place.name} is damaged" in note
    with pytest.raises(CorruptStore, match="is damaged"):
        drawn.select(refit=True)


def test_a_mask_of_an_older_trunkline_holds_and_says_what_it_cannot(drawn: Drawn):
    rule = SelectSpec(threshold=0.0)
    kept = np.arange(DIM) < 4
    selection.create(drawn.masks / rule.digest(), 200, {"pool": LayerMask(kept, np.ones(DIM), 0.0)})
    receipt = drawn.select(rule)
    assert (receipt.cached, receipt.kept, receipt.drift, receipt.dropped) == (True, 4, (), {})
    (note,) = receipt.notes
    assert "was fitted by an older trunkline, which did not keep the means. `trunkline select --refit` does." in note
    refitted = drawn.select(rule, refit=True)
    assert refitted.notes == ()
    assert refitted.moved == Move(4, 7, 0, 3, 4 / 7)


def test_a_mask_of_another_recipe_is_refused_until_it_is_refitted(drawn: Drawn):
    rule = SelectSpec(threshold=0.0)
    layer = layer_of(drawn.select(rule))
    selection.create(drawn.masks / rule.digest(), 200, {"pool": layer}, recipe="0123456789abcdef")
    with pytest.raises(DataError, match=r"fitted on features of the recipe 0123456789abcdef, and these are of "):
        drawn.select(rule)
    receipt = drawn.select(rule, refit=True)
    assert receipt.moved is None
    assert receipt.notes[0].startswith("How the mask moved is not known: The mask ")
    assert drawn.select(rule).cached


def test_a_damaged_mask_is_refused_until_it_is_refitted(drawn: Drawn):
    place = Location(drawn.select().mask)
    place.write(place.read()[:-40])
    with pytest.raises(CorruptStore, match=rf"The mask {place} is damaged"):
        drawn.select()
    receipt = drawn.select(refit=True)
    assert (receipt.cached, receipt.moved, receipt.kept) == (False, None, 7)
    assert "is damaged" in receipt.notes[0]


def test_stored_nan_is_refused(drawn: Drawn):
    features = open_features(drawn.uri)
    rows = features.rows("train")
    rows = rows[rows < 64]
    damaged = moments.Moments.of(features.read(rows))
    mean = damaged.mean.copy()
    mean[3] = np.nan
    moments.save(moments.place(drawn.feature_set.moments, f"{0:012d}", rows), {"pool": replace(damaged, mean=mean)})
    with pytest.raises(CorruptStore, match=r"The moments of pool are not finite in the features 3: "):
        drawn.select()
    assert drawn.masks.names() == []


def test_the_order_of_threads_changes_nothing(drawn: Drawn):
    for _ in range(3):
        drawn.batch(200)
    variances = [layer_of(drawn.select(refit=True)).variances for _ in range(4)]
    for each in variances[1:]:
        np.testing.assert_array_equal(each, variances[0])


def test_progress_counts_shards_and_then_images(drawn: Drawn):
    said: list[tuple[str, int, int | None]] = []
    drawn.select(
        SelectSpec(threshold=0.0, duplicates=0.9), progress=lambda step: said.append((step.stage, step.done, step.total))
    )
    assert said == [*(("select", number, 5) for number in range(1, 6)), ("compare", 200, 200)]
