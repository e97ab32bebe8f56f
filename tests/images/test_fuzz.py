"""Nothing that calls itself an image crashes, hangs, fills the memory, or passes as a picture that it is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.images.corpus import Case, cases
from tests.stores import empty_store, spec_for
from trunkline import open_features
from trunkline.blocks import Status
from trunkline.clusters import Cluster
from trunkline.images import REASONS
from trunkline.stages.run import run

ROOT = Path(__file__).parents[2]
PEAK = (
    2**30
)  # bytes of a process that decodes the whole corpus; 25 bytes a pixel for those of 30 megapixels, and what it imports
WAYS = ("decoded", "loaded", "keras", "scaled")


@pytest.fixture(scope="module")
def corpus() -> list[Case]:
    return cases()


@pytest.fixture(scope="module")
def found(corpus: list[Case], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What became of each, by its name; decoded in a process of its own."""
    folder = tmp_path_factory.mktemp("corpus")
    for number, case in enumerate(corpus):
        (folder / f"{number:05d}").write_bytes(case.content)
    command = [sys.executable, "-m", "tests.images.corpus", str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=240)
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    last = corpus[len(lines)].name if len(lines) < len(corpus) else ""
    assert ended.returncode == 0, f"it died of {last!r}: {ended.stderr[-3000:]}"
    return {case.name: line for case, line in zip(corpus, lines, strict=True)}


def test_the_corpus_is_large_and_holds_everything(corpus):
    names = [case.name for case in corpus]
    assert len(names) == len(set(names)) > 1_000
    kinds = Counter(name.split("-")[0].split()[0].lower() for name in names)
    assert all(kinds[form] > 100 for form in ("jpeg", "png", "gif", "bmp", "tiff", "webp"))


def test_each_is_ok_or_has_a_reason(found):
    odd = {
        name: {way: line[way] for way in WAYS if line[way] not in REASONS and len(line[way]) != 64}
        for name, line in found.items()
        if line["estimated"] != "ok" or any(line[way] not in REASONS and len(line[way]) != 64 for way in WAYS)
    }
    assert odd == {}


def test_every_way_agrees_on_what_can_be_read(found):
    differ = {name: line for name, line in found.items() if len({line[way] in REASONS for way in WAYS}) > 1}
    assert differ == {}


def test_what_is_cut_is_refused_or_whole(corpus, found):
    cut = [case for case in corpus if case.whole]
    assert len(cut) > 500
    other = [case.name for case in cut for way in WAYS if found[case.name][way] not in (*REASONS, found[case.whole][way])]
    assert other == []
    refused = [case for case in cut if found[case.name]["decoded"] in REASONS]
    assert len(refused) > 0.7 * len(cut)


def test_every_whole_file_is_read(found):
    whole = [name for name in found if " " not in name]
    assert len(whole) > 40
    assert [name for name in whole if found[name]["decoded"] in REASONS] == []


def test_bombs_are_refused_by_name(found):
    bombs = {name: line["decoded"] for name, line in found.items() if name.startswith("bomb")}
    assert {name for name, reason in bombs.items() if reason not in REASONS} <= {
        "bomb png inside",
        "bomb jpeg exif",
        "bomb tiff in a tiff",
    }
    by_header = ("jpeg", "png", "bmp", "gif", "webp", "tiff", "webp canvas", "gif frame", "gif offset", "webp lossless")
    assert {bombs[f"bomb {form}"] for form in by_header} == {"too-large"}


def test_memory_stays_bounded(found):
    peaks = {name: int(line["peak"]) for name, line in found.items()}
    assert max(peaks.values()) < PEAK


NAMES = (
    "{}.jpg",
    "{}.PNG",
    "räksmörgås {}.gif",
    "写真{}.jpeg",
    "🖼️ {}.webp",
    "line\n{}\nbreak.png",
    "quote'\"`{}.bmp",
    " {} .tif",
    "{}\\..\\x.jpg",
)
FOLDERS = ("plain", "with space", "новая\nпапка", "a" * 200, "dots..", "%2e%2e")


LINKS = {
    "itself.jpg": "itself.jpg",
    "gone.png": "nowhere.png",
    "here.gif": "../plain",
    "ping.jpg": "pong.jpg",
    "pong.jpg": "ping.jpg",
}


def written(folder: Path, corpus: list[Case]) -> dict[str, str]:
    """The corpus under odd names and mostly wrong suffixes, links that lead nowhere, and a pipe; id → name of the case."""
    ids = {}
    for number, case in enumerate(corpus):
        image_id = f"{FOLDERS[number % len(FOLDERS)]}/{NAMES[number % len(NAMES)].format(number)}"
        (folder / image_id).parent.mkdir(parents=True, exist_ok=True)
        (folder / image_id).write_bytes(case.content)
        ids[image_id] = case.name
    for name, target in LINKS.items():
        (folder / "plain" / name).symlink_to(target)
        ids[f"plain/{name}"] = "gone" if target == "nowhere.png" else "no file"
    (folder / "plain" / "around").symlink_to("..", target_is_directory=True)
    os.mkfifo(folder / "plain" / "pipe.png")
    return ids | {"plain/pipe.png": "no file"}


@pytest.mark.slow
def test_a_run_over_all_of_it_on_dask_workers(tmp_path, corpus, found, compiled_lite0):
    """Every row ends as ok or quarantined, as decoding alone said, and no worker dies."""
    ids = written(tmp_path / "images", corpus)
    store = empty_store(tmp_path / "store", compiled_lite0)
    cluster = {"kind": "local", "workers": 2}
    spec = spec_for(tmp_path / "images", store, cluster=cluster, labels="none", max_bad_fraction=1.0, heads=[])
    with Cluster(spec.cluster) as dask:
        workers = set(dask.executor.client.run(os.getpid).values())
        summary = run(spec, dask).summary()
        assert set(dask.executor.client.run(os.getpid).values()) == workers
    table = open_features(store).index().select(["id", "status", "reason"]).to_pylist()
    assert {row["id"] for row in table} == set(ids)
    wrong = [row | {"alone": alone(ids[row["id"]], found)} for row in table if became(row) != alone(ids[row["id"]], found)]
    assert wrong == []
    assert (summary["rows"], summary["pending"]) == (len(ids), 0)
    assert summary["ok"] == sum(became(row) == "ok" for row in table) > 400
    assert summary["quarantined"] == len(ids) - summary["ok"]


def became(row: dict[str, str]) -> str:
    return "ok" if row["status"] == Status.OK else row["reason"]


def alone(name: str, found: dict[str, dict[str, str]]) -> str:
    """What decoding in a process of its own said."""
    if name in ("gone", "no file"):
        return "missing" if name == "gone" else "unreadable"
    return found[name]["loaded"] if found[name]["loaded"] in REASONS else "ok"
