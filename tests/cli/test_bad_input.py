"""What users get wrong: one message that says what, why and what to do, the right exit code, and never a traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Cli, Ended
from tests.stores import copy_of, empty_store, feature_set_in, images_in, objects
from trunkline import open_features
from trunkline.locations import Location
from trunkline.store.feature_store import FeatureStore

INLINE = ("--cluster", "inline")


def refused(ended: Ended, code: int, *words: str) -> None:
    """It ended with this code and said these words, and no more than one message."""
    assert ended.code == code, ended.err
    assert ended.out == ""
    assert ended.said.count("Error:") == 1
    assert "Traceback" not in ended.err
    for each in words:
        assert each in ended.said


@pytest.fixture
def images(tmp_path: Path, digits_folder: Path) -> Path:
    return images_in(tmp_path / "images", digits_folder, 70)


@pytest.fixture
def store(tmp_path: Path, compiled_lite0: Path) -> Path:
    return empty_store(tmp_path / "store", compiled_lite0)


def test_as_a_process(tmp_path: Path):
    command = [sys.executable, "-c", "from trunkline.cli import main; main()", "run", "--source", "nowhere", "--store", "s"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=120)
    refused(Ended(ended.returncode, ended.stdout, ended.stderr), 2, f"The source {tmp_path}/nowhere does not exist")
    assert list(tmp_path.iterdir()) == []


def test_missing_source(cli: Cli, tmp_path: Path):
    ended = cli("run", "--source", tmp_path / "nowhere", "--store", tmp_path / "s", *INLINE)
    refused(ended, 2, f"The source {tmp_path}/nowhere does not exist. Check the path given as --source")
    assert not (tmp_path / "s").exists()


def test_source_is_a_file(cli: Cli, tmp_path: Path, images: Path):
    file = images / "0" / "0000.png"
    refused(cli("run", "--source", file, "--store", tmp_path / "s"), 2, f"The source {file} is a file; trunkline reads folders")


def test_empty_source(cli: Cli, tmp_path: Path):
    (tmp_path / "empty" / "0").mkdir(parents=True)
    (tmp_path / "empty" / "0" / "notes.txt").write_text("no image")
    ended = cli("run", "--source", tmp_path / "empty", "--store", tmp_path / "s", *INLINE)
    refused(ended, 2, f"The source {tmp_path}/empty holds no images (.jpg .jpeg .png", "Check the path")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("count", [5, 110])
def test_no_readable_image_at_all(cli: Cli, tmp_path: Path, store: Path, count: int):
    for number in range(count):
        (tmp_path / "bad" / "0").mkdir(parents=True, exist_ok=True)
        (tmp_path / "bad" / "0" / f"{number}.png").write_bytes(b"" if number else b"text")
    ended = cli("run", "--source", tmp_path / "bad", "--store", store, *INLINE)
    words = f"Not one of {count} images could be read ({count - 1} empty, 1 not-an-image). Is the source a folder of images?"
    refused(ended, 2, words)


def test_too_many_bad_images(cli: Cli, tmp_path: Path, digits_folder: Path, store: Path):
    source = images_in(tmp_path / "bad", digits_folder, 110)
    for file in sorted(source.glob("*/*.png"))[:20]:
        file.write_bytes(b"")
    ended = cli("run", "--source", source, "--store", store, *INLINE)
    refused(ended, 1, "20 of 110 images could not be read (20 empty), more than the allowed 5%", "--max-bad")
    assert cli("extract", "--source", source, "--store", store, *INLINE, "--max-bad", "0.2").code == 0


def test_unknown_backbone(cli: Cli, images: Path, store: Path):
    ended = cli("run", "--source", images, "--store", store, "--backbone", "eficientnet-lite0", *INLINE)
    refused(ended, 2, "There is no backbone 'eficientnet-lite0'. Did you mean efficientnet-lite", "lists all 48")


@pytest.mark.slow
def test_unknown_layer(cli: Cli, images: Path, store: Path):
    ended = cli("run", "--source", images, "--store", store, "--layer", "avg_pol", *INLINE)
    refused(ended, 2, "The backbone efficientnet-lite0 has no layer 'avg_pol'. Did you mean avg_pool")
    assert not (store / "features").exists()


def test_foreign_folder_as_store(cli: Cli, images: Path, tmp_path: Path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    ended = cli("run", "--source", images, "--store", tmp_path / "thesis", *INLINE)
    refused(ended, 2, f"{tmp_path}/thesis is not a feature store and not empty (it holds chapter.tex)")
    assert [each.name for each in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]


def test_newer_store(cli: Cli, images: Path, store: Path):
    (store / "store.json").write_text('{"format": "trunkline", "version": 99}')
    refused(
        cli("scan", "--source", images, "--store", store), 2, "has store format 99; this trunkline reads 1. Update trunkline"
    )


def test_other_format(cli: Cli, finished_store: Path, tmp_path: Path):
    store = copy_of(finished_store, tmp_path / "store")
    ended = cli("run", "--store", store, "--format", "hdf5", *INLINE)
    refused(ended, 2, "is stored as zarr; the format is fixed when a feature set is created. Use --format zarr")


def test_hdf5_on_an_object_store(cli: Cli, images: Path, compiled_lite0: Path):
    place = Location("memory://cli")
    FeatureStore.create(place)
    for file in (compiled_lite0 / "backbones").rglob("*.*"):
        (place / str(file.relative_to(compiled_lite0))).write(file.read_bytes())
    ended = cli("run", "--source", images, "--store", place, "--format", "hdf5", *INLINE)
    refused(ended, 2, "HDF5 cannot be written to memory://", "Use --format zarr")


def test_memory_with_workers(cli: Cli, images: Path):
    ended = cli("run", "--source", images, "--store", "memory://cli-workers", "--cluster", "local")
    refused(ended, 2, "memory:// lives in one process", "Use --cluster inline")


def test_unknown_scheme(cli: Cli, images: Path):
    refused(cli("scan", "--source", images, "--store", "gopher://hole"), 2, "No access to gopher:// locations")


def test_two_sources_for_one_dataset(cli: Cli, finished_store: Path, images: Path, tmp_path: Path):
    store = copy_of(finished_store, tmp_path / "store")
    ended = cli("scan", "--source", images, "--store", store, "--dataset", "digits")
    refused(ended, 2, "The dataset 'digits' belongs to", f"not to {images}", "--dataset")


def test_most_images_gone(cli: Cli, finished_store: Path, images: Path, tmp_path: Path):
    store = copy_of(finished_store, tmp_path / "store")
    assert cli("scan", "--source", images, "--store", store).code == 0
    shutil.rmtree(images / "1")
    shutil.rmtree(images / "2")
    ended = cli("scan", "--source", images, "--store", store)
    refused(ended, 2, "images are gone from", "more than 10%: is a disk or bucket not mounted?", "--max-removed 1")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("source: a\nstore: b\nbackbon: x\n", ["unknown key 'backbon'. Did you mean backbone"]),
        ("source: a\nstore: b\nstorage: {fromat: zarr}\n", ["unknown key 'storage.fromat'. Did you mean format?"]),
        ("source: a\nstore: b\nstorage: {format: zar}\n", ["'storage.format' is 'zar'"]),
        ("source: a\nstore: b\nstorage: {rows_per_shard: 100}\n", ["'storage.rows_per_shard' is 100: must be 64, 128"]),
        ("source: a\nstore: b\nlayers: [x, x]\n", ["'layers'", "names the same one twice"]),
        (
            "source: a\nstore: b\nheads: [{kind: softmax, C: [0.0]}]\n",
            ["'heads.0.softmax.C.0' is 0.0: input should be greater than 0"],
        ),
        ("source: a\n", ["'store' is missing; it has no default"]),
        ("store: b\n", ["'source' is missing; it has no default"]),
        ("- a\n- b\n", ["holds no mapping of keys to values"]),
        ("source: [a\n", ["is not YAML: while parsing"]),
        ("\0", ["is not YAML"]),
        (b"\xff\xfe\xfa", ["is not YAML"]),
        ("", ["holds no mapping of keys to values"]),
    ],
)
def test_bad_specs(cli: Cli, tmp_path: Path, content: str | bytes, words: list[str]):
    place = tmp_path / "spec.yaml"
    place.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(cli("run", place), 2, *words)


def test_missing_spec(cli: Cli, tmp_path: Path):
    ended = cli("run", tmp_path / "nowhere.yaml")
    refused(ended, 2, f"Cannot read the spec {tmp_path}/nowhere.yaml: No such file or directory. `trunkline init` writes one")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--head", "sofmax"], ["'heads.0'", "sofmax"]),
        (["--format", "parquet"], ["'storage.format' is 'parquet'"]),
        (["--dataset", "../up"], ["'dataset' is '../up'"]),
        (["--size", "3"], ["'preparation.size' is 3"]),
        (["--max-bad", "2"], ["'max_bad_fraction' is 2.0"]),
        (["--workers", "0"], ["'cluster.workers' is 0"]),
    ],
)
def test_bad_options(cli: Cli, tmp_path: Path, options: list[str], words: list[str]):
    refused(cli("run", "--source", tmp_path, "--store", tmp_path / "s", *options), 2, "The options: ", *words)


def test_an_option_that_does_not_exist(cli: Cli):
    ended = cli("run", "--sorce", "x")
    assert ended.code == 2
    assert "No such option: --sorce" in ended.said
    assert "Traceback" not in ended.err


def test_a_scheduler_is_missing(cli: Cli, images: Path, store: Path):
    ended = cli("extract", "--source", images, "--store", store)
    refused(ended, 2, "has no images yet. Run `trunkline scan` first")
    assert cli("scan", "--source", images, "--store", store).code == 0
    ended = cli("extract", "--source", images, "--store", store, "--cluster", "address")
    refused(ended, 2, "kind is 'address' and address is missing: name the scheduler, such as tcp://host:8786")


def test_which_images(cli: Cli, finished_store: Path, images: Path, tmp_path: Path):
    refused(cli("run", "--store", tmp_path / "new"), 2, f"Give --source DIR: there is no store at {tmp_path}/new yet")
    store = copy_of(finished_store, tmp_path / "store")
    refused(
        cli("select", "--store", store, "--dataset", "birds"), 2, "Give --source, or --dataset with one of those in", ": none."
    )
    assert cli("scan", "--source", images, "--store", store).code == 0
    refused(cli("select", "--store", store), 2, "Which images? Give --source, or --dataset", "digits, images")
    refused(cli("run"), 2, "Where should features go? Give --store DIR")


@pytest.mark.parametrize("command", ["status", "quarantine"])
def test_there_is_no_store(cli: Cli, tmp_path: Path, command: str):
    refused(cli(command, tmp_path / "nowhere"), 2, f"There is no feature store at {tmp_path}/nowhere")


@pytest.mark.parametrize("command", ["select", "fit", "report"])
def test_stages_out_of_order(cli: Cli, images: Path, store: Path, command: str):
    assert cli("scan", "--source", images, "--store", store).code == 0
    refused(cli(command, "--source", images, "--store", store), 2, "There is no feature set at")


def test_init_leaves_a_file_that_is_there(cli: Cli, tmp_path: Path):
    place = tmp_path / "spec.yaml"
    place.write_text("precious")
    refused(cli("init", place), 2, f"{place} exists already and is left as it is. Name another file")
    assert place.read_text() == "precious"


def test_a_damaged_commit_record(cli: Cli, finished_store: Path, tmp_path: Path):
    store = copy_of(finished_store, tmp_path / "store")
    record = feature_set_in(store) / "commits" / "000000000064.parquet"
    record.write_bytes(record.read_bytes()[:100])
    refused(cli("run", "--store", store, *INLINE), 1, f"{record} cannot be read as Parquet")
    record.unlink()  # as it advises
    again = cli("run", "--store", store, *INLINE, "--head", "softmax", "--json")
    assert (again.code, again.json["extracted"]) == (0, 64)


def test_interrupted(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from trunkline.stages import status

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(status, "status", interrupt)
    ended = cli("status", tmp_path)
    assert ended.code == 130
    assert "Interrupted. What was committed is kept" in ended.said


Disk = Callable[[Path, str], AbstractContextManager[Path]]


@pytest.fixture
def disk() -> Disk:
    """A file system of its own, of a size; skipped where this user may not mount one."""

    @contextmanager
    def mounted(place: Path, size: str) -> Iterator[Path]:
        place.mkdir()
        ended = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True, text=True)
        if ended.returncode:
            pytest.skip(f"mounting a tmpfs is not allowed here: {ended.stderr.strip()}")
        try:
            yield place
        finally:
            subprocess.run(["umount", place], check=True)

    return mounted


def remount(place: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", place], check=True)


def store_on(place: Path, compiled_lite0: Path) -> Path:
    """A store whose backbone lies elsewhere."""
    FeatureStore.create(Location.of(place))
    (place / "backbones").symlink_to(compiled_lite0 / "backbones")
    return place


def test_read_only_store(cli: Cli, disk: Disk, tmp_path: Path, images: Path, compiled_lite0: Path):
    with disk(tmp_path / "disk", "8m") as place:
        store = store_on(place, compiled_lite0)
        remount(place, "ro")
        advice = "Check permissions and whether the file system is mounted read-only"
        refused(cli("run", "--source", images, "--store", store, *INLINE), 1, f"Writing {store}/", "failed (Read-only", advice)
        remount(place, "rw")
        assert cli("scan", "--source", images, "--store", store).code == 0
        remount(place, "ro")
        before = objects(store / "datasets")
        refused(
            cli("extract", "--source", images, "--store", store, *INLINE), 1, f"Writing {store}/", "failed (Read-only", advice
        )
        assert objects(store / "datasets") == before
        remount(place, "rw")
        ended = cli("extract", "--source", images, "--store", store, *INLINE, "--json")
        assert (ended.code, ended.json["counts"]["ok"], ended.json["counts"]["pending"]) == (0, 70, 0)


def test_a_disk_too_small_for_the_features(cli: Cli, disk: Disk, tmp_path: Path, digits_folder: Path, compiled_lite0: Path):
    source = images_in(tmp_path / "images", digits_folder, 160)
    with disk(tmp_path / "disk", "4m") as place:
        store = store_on(place, compiled_lite0)
        assert cli("scan", "--source", source, "--store", store).code == 0
        fill(place, 100)
        ended = cli("extract", "--source", source, "--store", store, *INLINE)
        refused(ended, 2, "160 rows of 1,280 features: 800.0 KiB before compression", "That does not fit onto the disk")
        assert list(store.glob("features/*/*/commits/*")) == []


@pytest.mark.parametrize("format_", ["zarr", "hdf5"])
def test_full_disk(
    cli: Cli,
    disk: Disk,
    tmp_path: Path,
    digits_folder: Path,
    compiled_lite0: Path,
    finished_store: Path,
    format_: str,
    monkeypatch: pytest.MonkeyPatch,
):
    """Wherever the disk fills up, the run says so and keeps what it committed; with space it goes on."""
    # this process lives on, and a full disk lets it release no lease: its next run waits until the last one's is stale
    monkeypatch.setattr("trunkline.store.lease.STALE_SECONDS", 0.1)
    monkeypatch.setattr(Location, "free", lambda _: None)  # as where others fill the disk while the run goes on
    source = images_in(tmp_path / "images", digits_folder, 160)
    with disk(tmp_path / "disk", "4m") as place:
        store = store_on(place, compiled_lite0)
        options = ("--source", source, "--store", store, "--format", format_, *INLINE, "--json")
        kept: dict[Path, bytes] = {}
        for pages in (0, 1, 2, 3, 4, 6, 8, 100):
            command = "extract" if (store / "datasets/images/splits").exists() else "scan"
            fill(place, pages)
            ended = cli(command, *options)
            if command == "extract" or ended.code:  # a scan takes few pages; then it is extraction's turn
                refused(ended, 1, f"Writing {store}", "The disk is full: free some space, then start the same command again")
            assert all(file.read_bytes() == content for file, content in kept.items())
            kept = {file: file.read_bytes() for file in store.glob("features/*/*/commits/*.parquet")}
        assert 1 <= len(kept) < 3
        (place / "filler").unlink()
        ended = cli("extract", *options)
        assert ended.code == 0, ended.err
        assert ended.json["reused"] == 64 * len(kept)
        assert (ended.json["counts"]["ok"], ended.json["counts"]["pending"]) == (160, 0)
        np.testing.assert_array_equal(open_features(store).numpy()[0], open_features(finished_store).numpy()[0])
        assert all(file.read_bytes() == content for file, content in kept.items())


def fill(place: Path, spare: int) -> None:
    """Leave so many pages free."""
    filler = place / "filler"
    filler.unlink(missing_ok=True)
    free = os.statvfs(place)
    filler.write_bytes(bytes((free.f_bavail - spare) * free.f_bsize))
