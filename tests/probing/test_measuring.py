"""Pieces on a worker with the real network: one decode, several networks and sizes, and what cannot be read."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from tests.probing.test_ranking import PLAIN
from tests.stores import images_in
from trunkline import images, runtimes
from trunkline.backbones.compilation import Order
from trunkline.backbones.compiled import compiled
from trunkline.backbones.golden import in_batches
from trunkline.errors import DataError, TooManyBadImages
from trunkline.fan_out import SerialExecutor
from trunkline.locations import Location
from trunkline.probing import speed
from trunkline.probing.gathering import gather
from trunkline.probing.measuring import PIECE, Piece, Prepared, ProbeJob, see
from trunkline.probing.signs import warnings_of
from trunkline.probing.speed import forward_speeds, no_slower_than_later, speeds_of
from trunkline.progress import Step, silent
from trunkline.sources import Listed, source_of
from trunkline.specs import RunSpec


@pytest.fixture(scope="module")
def network(compiled_lite0: Path, lite0_order: Order) -> Prepared:
    return Prepared(lite0_order.recipe, compiled(Location.of(compiled_lite0), lite0_order), "openvino", None)


@pytest.fixture
def folder(tmp_path: Path, digits_folder: Path) -> Path:
    return images_in(tmp_path / "images", digits_folder, 20)


def job_of(folder: Path, network: Prepared) -> tuple[ProbeJob, list[Listed]]:
    source = source_of(RunSpec(source=str(folder), store="/nowhere"))
    return ProbeJob(source.said(), (network,), 1, 2, 2**28), list(source.listing())


def test_features_are_those_of_an_extraction(folder: Path, network: Prepared):
    job, listed = job_of(folder, network)
    seen = see(job, Piece(40, tuple(listed)))
    assert seen.places.tolist() == list(range(40, 60))
    pixels = np.stack([images.load((folder / image.id).read_bytes(), network.recipe) for image in listed])
    expected = in_batches(runtimes.load("openvino", network.backbone, 1).run, pixels, network.backbone.batch)["avg_pool"]
    np.testing.assert_array_equal(seen.vectors[0]["avg_pool"], expected)
    assert seen.grey.all()
    assert seen.sides.tolist() == [32] * 20


def test_colour_and_the_shorter_side_are_seen(folder: Path, network: Prepared):
    Image.new("RGB", (60, 50), (200, 30, 30)).save(folder / "0" / "red.png")
    job, listed = job_of(folder, network)
    (red,) = [image for image in listed if image.id == "0/red.png"]
    seen = see(job, Piece(0, (red,)))
    assert (seen.grey.tolist(), seen.sides.tolist()) == ([False], [50])


def test_photos_show_no_sign_of_trouble(tmp_path: Path, network: Prepared):
    for name, photo in zip(("china", "flower"), load_sample_images().images, strict=True):
        (tmp_path / name).mkdir()
        Image.fromarray(photo).save(tmp_path / name / "photo.jpg", quality=95)
    job, listed = job_of(tmp_path, network)
    seen = see(job, Piece(0, tuple(listed)))
    assert seen.sides.tolist() == [427, 427]
    assert warnings_of([replace(PLAIN, is_default=True)], [], seen.grey, seen.sides) == []


def test_unreadable_images_are_counted_and_the_rest_keeps_its_places(folder: Path, network: Prepared):
    job, listed = job_of(folder, network)
    (folder / listed[3].id).write_bytes(b"not an image")
    (folder / listed[5].id).unlink()
    seen = see(job, Piece(0, tuple(listed)))
    assert seen.places.tolist() == [place for place in range(20) if place not in (3, 5)]
    assert dict(seen.reasons) == {"changed": 1, "missing": 1}
    assert len(seen.grey) == len(seen.sides) == len(seen.vectors[0]["avg_pool"]) == 18


def test_pieces_are_gathered_in_the_sample_s_order_and_counted(folder: Path, network: Prepared):
    job, listed = job_of(folder, network)
    many = (listed * 5)[: PIECE + 9]

    class Backwards(SerialExecutor):
        def map(self, function, job, items):
            return super().map(function, job, reversed(list(items)))

    steps: list[Step] = []
    found = gather(job, many, Backwards(), 0.05, steps.append)
    assert found.places.tolist() == list(range(PIECE + 9))
    np.testing.assert_array_equal(found.vectors[0]["avg_pool"][PIECE], found.vectors[0]["avg_pool"][PIECE % 20])
    assert (steps[-1].done, steps[-1].total) == (PIECE + 9, PIECE + 9)
    assert found.decode_seconds > 0
    some = found.only(found.places < 3)
    assert len(some.vectors[0]["avg_pool"]) == len(some.grey) == len(some.sides) == 3


def test_too_many_unreadable_images_stop_it(folder: Path, network: Prepared):
    job, listed = job_of(folder, network)
    for image in listed[:2]:
        (folder / image.id).unlink()
    with pytest.raises(
        TooManyBadImages, match=r"2 of the 20 images drawn could not be read \(2 missing\), more than the allowed 5%"
    ):
        gather(job, listed, SerialExecutor(), 0.05, silent)
    assert len(gather(job, listed, SerialExecutor(), 0.1, silent).places) == 18
    assert len(gather(job, listed[:10], SerialExecutor(), 0.05, silent).places) == 8  # too few images to judge by a share


def test_nothing_readable_is_said(folder: Path, network: Prepared):
    job, listed = job_of(folder, network)
    shutil.rmtree(folder)
    with pytest.raises(DataError, match=r"Not one of the 20 images drawn could be read \(20 missing\)"):
        gather(job, listed, SerialExecutor(), 0.05, silent)


def test_a_network_is_timed_at_its_cuts(folder: Path, network: Prepared):
    found = forward_speeds(network, 1, ["avg_pool"])
    assert found.keys() == {"avg_pool"}
    assert found["avg_pool"] > 0
    assert speeds_of(job_of(folder, network)[0], 0).keys() == {"avg_pool"}


def test_the_fastest_batch_counts_and_no_cut_is_slower_than_a_later_one(network: Prepared, monkeypatch: pytest.MonkeyPatch):
    clock = [0.0]
    batches = {"early": [9.0, 8.0, 4.0, 9.0], "late": [9.0, 2.0, 5.0, 2.5]}  # seconds each, the first to warm up

    class Disturbed:
        def __init__(self, layer: str):
            self.seconds = iter(batches[layer])

        def run(self, _: object) -> None:
            clock[0] += next(self.seconds)

    monkeypatch.setattr(speed.runtimes, "cut_at", lambda *given: Disturbed(given[-1]))
    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock[0])
    found = forward_speeds(network, 1, ["early", "late"])
    assert found == {"early": network.backbone.batch / 2.0, "late": network.backbone.batch / 2.0}


def test_a_cut_that_was_disturbed_is_no_slower_than_a_later_one():
    found = no_slower_than_later({"stem": 900.0, "block1": 70.0, "block2": 120.0, "pool": 100.0})
    assert list(found.items()) == [("stem", 900.0), ("block1", 120.0), ("block2", 120.0), ("pool", 100.0)]
