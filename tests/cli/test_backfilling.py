"""`trunkline backfill`: options, a spec file, its plan, what it prints, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.stores import copy_of, empty_store, images_in, spec_for
from trunkline.stages.scan import scan

INLINE = ("--cluster", "inline")


@pytest.fixture
def store(finished_store: Path, tmp_path: Path) -> Path:
    return copy_of(finished_store, tmp_path / "store")


def test_where_all_is_there_it_says_so(cli: Cli, store: Path):
    ended = cli("backfill", store, *INLINE, "--json")
    assert ended.code == 0, ended.err
    assert (ended.json["ended"], ended.json["images"], ended.json["slices"]) == ("nothing", 0, [])
    assert "Nothing to do: all 160 images of these rows have features under 1 recipe." in ended.said


def test_another_recipe_is_planned_and_extracted_and_costs(cli: Cli, store: Path, tmp_path: Path):
    place = tmp_path / "backfill.yaml"
    place.write_text("recipes:\n  - {}\n  - dtype: float16\nstorage: {rows_per_shard: 64}\nslice_images: 64\n")
    words = ("backfill", store, place, *INLINE, "--rows", "128:", "--price", "10")
    ended = cli(*words, "--plan", "--json")
    assert ended.code == 0, ended.err
    assert [(each["first"], each["stop"], each["images"]) for each in ended.json["slices"]] == [(128, 160, 32)]
    assert "32 images of digits under 2 recipes, in 1 slice." in ended.said
    ended = cli(*words, "--json")
    assert ended.code == 0, ended.err
    found = ended.json
    assert (found["ended"], found["images"], found["left"]) == ("done", 32, 0)
    assert found["cost"] == pytest.approx(10 * found["worker_hours"], abs=1e-3)
    counts = sorted(each["ok"] for each in found["slices"][0]["extracted"].values())
    assert counts == [0, 32]
    assert [effect["what"] for effects in found["effects"].values() for effect in effects] == [
        "stored in float16 against float32"
    ]
    assert "backfill: 32 of 32 images" in ended.err
    assert "float16" in ended.said
    assert ", cost 0.0" in ended.said
    assert cli(*words, "--json").json["ended"] == "nothing"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rows", "9:3"), "The options: 'rows' is '9:3': a range begins before it ends; 9 is not before 3"),
        (("--rows", "0:9", "--since", "2026-01-01"), "rows and since both say which rows"),
        (("--backbone", "lite"), "There is no backbone 'lite'"),
        (("nowhere.yaml",), "Cannot read the spec nowhere.yaml"),
        (("--max-images", "0"), "'max_images' is 0"),
    ],
)
def test_what_cannot_be_is_refused(cli: Cli, store: Path, words: tuple[str, ...], said: str):
    ended = cli("backfill", store, *INLINE, *words)
    assert ended.code == 2
    assert said in ended.said
    assert "Traceback" not in ended.err


@pytest.mark.slow
def test_a_backfill_that_was_killed_computes_again_only_what_was_not_committed(
    cli: Cli, tmp_path: Path, digits_folder: Path, compiled_lite0: Path
):
    images, store = images_in(tmp_path / "images", digits_folder, 300), empty_store(tmp_path / "store", compiled_lite0)
    scan(spec_for(images, store))
    place = tmp_path / "backfill.yaml"
    place.write_text(
        "recipes: [{}, {dtype: float16}]\nstorage: {rows_per_shard: 64}\nslice_images: 128\ncluster: {kind: inline}\n"
    )
    command = [sys.executable, "-c", "from trunkline.cli import main; main()", "backfill", str(store), str(place), "--json"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 240
        while len(list(store.glob("features/digits/*/commits/*.parquet"))) < 3 and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    there = {folder.name: len(list(folder.glob("commits/*.parquet"))) for folder in store.glob("features/digits/*")}
    assert 3 <= sum(there.values()) < 10
    found = cli("backfill", store, place, "--json").json
    assert (found["ended"], found["left"]) == ("done", 0)
    again = {recipe: sum(each["extracted"][recipe]["ok"] for each in found["slices"]) for recipe in there}
    assert again == {recipe: 300 - min(64 * shards, 300) for recipe, shards in there.items()}
    assert cli("verify", store).code == 0
