"""Several recipes over one dataset: the features of each alone, from one reading of each image; what is committed is left as it is."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.model import stub
from tests.stores import INLINE, ROWS, committed_objects, extracted, images_in, spec_for
from trunkline import extraction, image_stream
from trunkline.backbones.resolution import order_of
from trunkline.clusters import Cluster
from trunkline.errors import LeaseHeld, LeaseLost, TooManyBadImages
from trunkline.locations import Location
from trunkline.shard_extraction import OpenRecipe
from trunkline.sources.folder import FolderSource
from trunkline.specs import ClusterSpec, EngineSpec, RunSpec
from trunkline.stages import extract, up_to_date
from trunkline.stages.scan import scan
from trunkline.stages.up_to_date import Target, bring_all_up_to_date, units_of
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset, FeatureStore
from trunkline.store.layout import ArrayLayout
from trunkline.store.lease import Lease

IMAGES = 160
WAYS: tuple[dict[str, Any], ...] = (  # all of one compiled backbone
    {},
    {"storage": {"dtype": "float16", "rows_per_shard": 128}},
    {"preparation": {"fit": "stretch", "kernel": "area"}},
)


@pytest.fixture(scope="module")
def with_backbone(scanned: Path, tmp_path_factory: pytest.TempPathFactory, compiled_lite0: Path) -> Path:
    """The same with the compiled backbone in its store."""
    folder = tmp_path_factory.mktemp("with_backbone")
    shutil.copytree(scanned / "store", folder / "store")
    shutil.copytree(compiled_lite0 / "backbones", folder / "store/backbones", copy_function=os.link)
    (folder / "images").symlink_to(scanned / "images")
    return folder


@dataclass
class Place:
    """A store with 160 scanned digits, and what may be extracted of them."""

    spec: RunSpec
    dataset: Dataset
    targets: list[Target]

    @property
    def sets(self) -> list[FeatureSet]:
        return [target.features for target in self.targets]

    def bring(self, targets: list[Target] | None = None, cluster: ClusterSpec = INLINE, **how: object) -> up_to_date.Made:
        with Cluster(cluster) as opened:
            return bring_all_up_to_date(targets or self.targets, self.dataset, opened, EngineSpec(), **how)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory, digits_folder: Path) -> Path:
    """A broken file among the digits; nothing is extracted."""
    folder = tmp_path_factory.mktemp("scanned")
    images = images_in(folder / "images", digits_folder, IMAGES)
    next(iter(sorted(images.glob("3/*.png")))).write_bytes(stub.NO_IMAGE)
    scan(spec_for(images, folder / "store"))
    return folder


def place_in(scanned: Path, folder: Path, format_: str = "zarr") -> Place:
    """A copy of the scanned store with a feature set for each of WAYS."""
    store = FeatureStore.open(Location.of(shutil.copytree(scanned / "store", folder)))
    targets = []
    for way in WAYS:
        storage = {"format": format_, "rows_per_shard": ROWS} | way.get("storage", {})
        run = RunSpec.model_validate(spec_for(scanned / "images", folder).model_dump() | way | {"storage": storage})
        order = order_of(run)
        backbone = extract.compiled(store.root, order)
        layout = ArrayLayout(format_, storage["rows_per_shard"], backbone.dims, run.storage.dtype)
        features = FeatureSet.create(store.feature_set_location("digits", order.recipe), order.recipe, layout)
        targets.append(Target(features, backbone))
    return Place(run, store.dataset("digits"), targets)


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features are hashes of the images' bytes: what is left is the way that they go."""
    stub.install(monkeypatch)
    monkeypatch.setattr(extraction, "_workers", {})


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each image was read."""
    counted: Counter[str] = Counter()
    whole = FolderSource.read
    monkeypatch.setattr(
        FolderSource, "read", lambda self, image_id, *more: counted.update([image_id]) or whole(self, image_id, *more)
    )
    return counted


def contents(features: FeatureSet) -> dict[str, object]:
    """What is written once, and says the same whenever it is made: features, moments, and rows of commit records."""
    name = features.location.path
    objects = {
        key: what[0] for key, what in committed_objects(name).items() if not key.startswith(("commits/", "sealed/", "parts/"))
    }
    rows = {shard: features.commits.read(shard).table.to_pylist() for shard in features.commits.done()}
    read = {layer: features.arrays.read(layer, 0, IMAGES).tobytes() for layer in features.layout.dims}
    return {"objects": objects, "rows": rows, "read": read}


@pytest.mark.parametrize(
    ("format_", "within", "images", "shards"),
    [
        ("zarr", [(128, IMAGES)], 32, [1, 1, 1]),
        pytest.param("zarr", None, IMAGES, [3, 2, 3], marks=pytest.mark.slow),
        pytest.param("hdf5", None, IMAGES, [3, 2, 3], marks=pytest.mark.slow),
    ],
)
def test_each_recipe_has_the_features_it_has_alone_and_each_image_is_read_once(
    with_backbone: Path,
    tmp_path: Path,
    reads: Counter[str],
    format_: str,
    within: list[tuple[int, int]] | None,
    images: int,
    shards: list[int],
):
    alone = place_in(with_backbone, tmp_path / "alone", format_)
    for target in alone.targets:
        assert alone.bring([target], within=within).images == images
    assert set(reads.values()) == {3}
    reads.clear()
    together = place_in(with_backbone, tmp_path / "together", format_)
    made = together.bring(within=within)
    assert set(reads.values()) == {1}
    assert (made.images, len(reads), made.stopped) == (images, images, False)
    assert [sum(shard.shard.rows for shard in fresh) for fresh in made.fresh] == [images] * 3
    assert [len(fresh) for fresh in made.fresh] == shards
    for one, other in zip(alone.sets, together.sets, strict=True):
        assert one.location.name == other.location.name
        assert contents(one) == contents(other)
    again = together.bring(within=within)
    assert (again.images, [len(fresh) for fresh in again.fresh], again.engines) == (0, [0, 0, 0], [None, None, None])


@pytest.mark.slow
def test_dask_gives_the_same_bits(with_backbone: Path, tmp_path: Path):
    serial, dask = place_in(with_backbone, tmp_path / "serial"), place_in(with_backbone, tmp_path / "dask")
    serial.bring()
    dask.bring(cluster=ClusterSpec(kind="local", workers=2))
    for one, other in zip(serial.sets, dask.sets, strict=True):
        assert contents(one) == contents(other)


@pytest.mark.usefixtures("stubbed")
def test_what_one_recipe_has_is_not_computed_again_and_what_all_have_is_not_read(
    scanned: Path, tmp_path: Path, reads: Counter[str], monkeypatch: pytest.MonkeyPatch
):
    whole = place_in(scanned, tmp_path / "whole")
    whole.bring()
    place = place_in(scanned, tmp_path / "store")
    place.bring()
    first, _, third = place.sets
    first.commits.forget(["000000000064"])
    third.commits.forget(["000000000064", "000000000128"])
    before = [contents(features)["objects"] for features in place.sets]
    reads.clear()
    ran: Counter[str] = Counter()
    run = OpenRecipe.run
    monkeypatch.setattr(
        OpenRecipe,
        "run",
        lambda self, batch, out: ran.update({self.features.location.name: len(batch.numbers)}) or run(self, batch, out),
    )
    made = place.bring()
    assert len(reads) == made.images == 96
    assert set(reads.values()) == {1}
    names = [features.location.name for features in place.sets]
    bad = 0 if made.fresh[0][0].statuses.get("quarantined", 0) == 0 else 1
    assert (ran[names[0]], ran[names[1]], ran[names[2]]) == (64 - bad, 0, 96 - bad)
    assert [contents(features)["objects"] for features in place.sets] == before
    for one, other in zip(whole.sets, place.sets, strict=True):
        assert contents(one) == contents(other)


@pytest.mark.usefixtures("stubbed")
def test_a_recipe_that_loses_its_lease_ends_the_run_and_spoils_nothing(scanned: Path, tmp_path: Path):
    whole, place = place_in(scanned, tmp_path / "whole"), place_in(scanned, tmp_path / "store")
    whole.bring()
    victim = place.sets[2]

    def take_over(step: object) -> None:
        if getattr(step, "done", 0) == 128:
            after = Lease(victim.leases, 9, "elsewhere", 1, "boot:1", "token")
            after.location.write(after.to_bytes())

    with pytest.raises(LeaseLost, match=r"nothing more is written"):
        place.bring(progress=take_over)
    done = [features.commits.done() for features in place.sets]
    assert "000000000128" not in done[2]
    for one, other in zip(whole.sets, place.sets, strict=True):
        for name in other.commits.done():
            assert other.commits.read(name).table.equals(one.commits.read(name).table)
    Lease(victim.leases, 9, "elsewhere", 1, "boot:1", "token", released=True).location.write(
        Lease(victim.leases, 9, "elsewhere", 1, "boot:1", "token", released=True).to_bytes()
    )
    place.bring()
    for one, other in zip(whole.sets, place.sets, strict=True):
        assert contents(one) == contents(other)


@pytest.mark.usefixtures("stubbed")
def test_where_one_lease_is_held_no_other_is_kept(scanned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """They are taken in one order everywhere, so that two runs over the same feature sets never wait for each other."""
    place = place_in(scanned, tmp_path / "store")
    order = sorted(place.sets, key=lambda features: features.location.uri)
    holder = Lease(order[1].leases, 1, "elsewhere", 1, "boot:1", "token")
    holder.location.write(holder.to_bytes())
    patient = up_to_date.hold
    taken = []
    monkeypatch.setattr(
        up_to_date, "hold", lambda folder, waiting: taken.append(folder) or patient(folder, wait_seconds=0.1, waiting=waiting)
    )
    with pytest.raises(LeaseHeld, match=r"lease 1, process 1 on elsewhere"):
        place.bring(place.targets[::-1])
    assert taken == [features.leases for features in order[:2]]
    with patient(order[0].leases, wait_seconds=0.0):
        pass
    assert all(not features.commits.done() for features in place.sets)


@pytest.mark.usefixtures("stubbed")
def test_rows_and_what_is_enough_bound_the_work(scanned: Path, tmp_path: Path, reads: Counter[str]):
    place = place_in(scanned, tmp_path / "store")
    assert [(unit.start, unit.stop) for unit in units_of(place.dataset.manifest, place.sets)] == [(0, 128), (128, 160)]
    made = place.bring(within=[(130, 131)])
    assert (made.images, len(reads), made.stopped) == (32, 32, False)
    assert [sorted(features.commits.done()) for features in place.sets] == [["000000000128"]] * 3
    made = place.bring(enough=lambda: True)
    assert (made.images, made.stopped) == (0, True)
    made = place.bring(place.targets[:1], enough=lambda: len(reads) > 32)
    assert (made.images, made.stopped) == (64, True)
    made = place.bring()
    assert (made.images, made.stopped) == (128, False)


@pytest.mark.usefixtures("stubbed")
def test_the_newest_rows_come_first(scanned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = place_in(scanned, tmp_path / "store")
    seen: list[int] = []
    load = image_stream.ImageStream.load
    monkeypatch.setattr(
        image_stream.ImageStream, "load", lambda self, row, wanted: seen.append(row["row"]) or load(self, row, wanted)
    )
    place.bring(newest_first=True)
    assert sorted(seen[:32]) == list(range(128, 160))


@pytest.mark.usefixtures("stubbed")
def test_too_many_bad_images_under_one_recipe_end_it(scanned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A recipe's values may overflow where another's do not."""
    place = place_in(scanned, tmp_path / "store")
    victim = place.targets[1].features.location.name
    run = OpenRecipe.run

    def spoilt(self: OpenRecipe, batch: object, out: dict[str, np.ndarray]) -> float:
        numbers = list(batch.numbers)  # type: ignore[attr-defined]
        seconds = run(self, batch, out)  # type: ignore[arg-type]
        if self.features.location.name == victim:
            for values in out.values():
                values[[number for number in numbers if number % 2]] = np.inf
        return seconds

    monkeypatch.setattr(OpenRecipe, "run", spoilt)
    with pytest.raises(TooManyBadImages, match=r"could not be read \(.*non-finite.*\), more than the allowed 10%"):
        place.bring(max_bad_fraction=0.1)
    first, second, _ = place.sets
    statuses = [Counter(features.commits.read("000000000000").table["status"].to_pylist()) for features in (first, second)]
    assert statuses[0]["ok"] >= 63
    assert statuses[1]["quarantined"] >= 64


@pytest.mark.slow
def test_a_run_alone_finds_what_was_made_together(with_backbone: Path, tmp_path: Path):
    place = place_in(with_backbone, tmp_path / "store")
    place.bring()
    images = shutil.copytree(with_backbone / "images", tmp_path / "images")
    (tmp_path / "store/datasets/digits/source.json").write_text(f'{{"root": "{images}"}}')
    receipt = extracted(spec_for(images, tmp_path / "store"))
    assert (receipt.extracted, receipt.counts.ok, receipt.counts.quarantined) == (0, IMAGES - 1, 1)
