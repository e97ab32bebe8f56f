"""The commands, each alone and all together: what they print, and their JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr

from tests.cli.conftest import Cli
from tests.stores import copy_of, empty_store, feature_set_in, images_in
from trunkline import open_features

INLINE = ("--cluster", "inline")
FAST = (*INLINE, "--head", "softmax")
SUMMARY_KEYS = {
    "rows",
    "ok",
    "quarantined",
    "pending",
    "extracted",
    "reused",
    "seconds",
    "images_per_second",
    "features",
    "heads",
    "feature_set",
    "report",
}


@pytest.fixture
def store(finished_store: Path, tmp_path: Path) -> Path:
    return copy_of(finished_store, tmp_path / "store")


def test_init_writes_a_spec_that_run_takes(cli: Cli, tmp_path: Path, digits_folder: Path, compiled_lite0: Path):
    source, store = images_in(tmp_path / "digits", digits_folder, 100), empty_store(tmp_path / "store", compiled_lite0)
    place = tmp_path / "spec.yaml"
    ended = cli("init", place, "--source", source, "--store", store)
    assert ended.code == 0
    assert "trunkline run" in ended.out
    text = place.read_text()
    assert text.count("#") > 20  # commented
    said = yaml.safe_load(text)
    said["heads"] = [{"kind": "forest", "trees": 5}]
    place.write_text(yaml.safe_dump(said))
    ended = cli("run", place, "--json", *INLINE)
    assert ended.code == 0, ended.err
    last = ended.out.splitlines()[-1]
    summary = json.loads(last)
    assert summary.keys() >= SUMMARY_KEYS
    assert (summary["rows"], summary["ok"], summary["quarantined"], summary["pending"]) == (100, 100, 0, 0)
    assert (summary["extracted"], summary["reused"]) == (100, 0)
    assert summary["seconds"].keys() == {"scan", "extract", "select", "fit"}
    assert all(seconds >= 0 for seconds in summary["seconds"].values())
    assert summary["images_per_second"] > 0
    assert summary["features"].keys() == {"layer", "dim", "kept", "dtype"}
    assert (summary["features"]["layer"], summary["features"]["dim"], summary["features"]["dtype"]) == (
        "avg_pool",
        1280,
        "float32",
    )
    assert 0 < summary["features"]["kept"] <= 1280
    (head,) = summary["heads"]
    assert head.keys() >= {"kind", "targets", "rows", "measure", "score", "accuracy", "macro_f1", "log_loss", "intervals"}
    assert (head["measure"], head["score"]) == ("macro-F1", head["macro_f1"])
    assert head["intervals"]["accuracy"][0] <= head["accuracy"] <= head["intervals"]["accuracy"][1]
    assert head["kind"] == "forest"
    assert len(open_features(summary["feature_set"]).rows()) == 100
    assert "<html" in Path(summary["report"]).read_text()
    metrics = json.loads((Path(summary["report"]).parent / "metrics.json").read_text())
    assert {key: metrics[key] for key in summary} == summary
    assert metrics["spec"]["source"] == str(source)


def test_run_again_does_nothing_and_says_so(cli: Cli, store: Path):
    first = cli("run", "--store", store, *FAST, "--json")
    assert first.code == 0, first.err
    ended = cli("run", "--store", store, *FAST)
    assert ended.code == 0
    assert "0: nothing is new, 160 from earlier runs" in ended.out
    assert "features kept" in ended.out
    again = cli("run", "--store", store, *FAST, "--json").json
    assert (again["extracted"], again["reused"], again["images_per_second"]) == (0, 160, None)
    assert again["report"] == first.json["report"]


def test_each_stage_alone(cli: Cli, tmp_path: Path, digits_folder: Path, compiled_lite0: Path):
    source, store = images_in(tmp_path / "digits", digits_folder, 100), empty_store(tmp_path / "store", compiled_lite0)
    (source / "0" / "broken.png").write_bytes(b"")

    scanned = cli("scan", "--source", source, "--store", store, "--json")
    assert scanned.code == 0, scanned.err
    assert (scanned.json["added"], scanned.json["changed"], scanned.json["removed"], scanned.json["batch"]) == (101, 0, 0, 0)

    status = cli("status", store, "--json").json
    assert status["datasets"][0]["feature_sets"] == []
    assert "none yet; `trunkline extract` makes them" in cli("status", store).out

    extracted = cli("extract", "--store", store, *INLINE, "--json")
    assert extracted.code == 0, extracted.err
    assert extracted.json["counts"] == {"ok": 100, "quarantined": 1, "pending": 0, "removed": 0, "void": 0}
    assert extracted.json["reasons"] == {"empty": 1}

    selected = cli("select", "--store", store, "--json")
    assert selected.code == 0, selected.err
    assert (selected.json["layer"], selected.json["dim"], selected.json["cached"]) == ("avg_pool", 1280, False)
    assert cli("select", "--store", store, "--json").json["cached"]
    assert not cli("select", "--store", store, "--json", "--refit").json["cached"]

    fitted = cli("fit", "--store", store, "--head", "softmax", "--json")
    assert fitted.code == 0, fitted.err
    assert [head["kind"] for head in fitted.json["heads"]] == ["softmax"]
    assert (fitted.json["fitted"], cli("fit", "--store", store, "--head", "softmax", "--json").json["fitted"]) == (1, 0)

    reported = cli("report", "--store", store, "--head", "softmax", "--json")
    assert reported.code == 0, reported.err
    assert Path(reported.json["report"]).is_file()
    assert not reported.json["cached"]

    for command in ("scan", "select", "fit", "report"):
        drawn = cli(command, "--store", store, *(["--head", "softmax"] if command in ("fit", "report") else []))
        assert drawn.code == 0, drawn.err
        assert drawn.out


def test_json_is_the_last_line_of_stdout_and_tables_go_to_stderr(cli: Cli, store: Path):
    ended = cli("status", store, "--json")
    assert len(ended.out.splitlines()) == 1
    assert ended.json["store"] == str(store)
    assert "backbone" in ended.err


def test_status(cli: Cli, store: Path):
    (feature_set_in(store) / "commits" / "000000000064.parquet").unlink()
    ended = cli("status", store, "--json")
    (dataset,) = ended.json["datasets"]
    assert (dataset["dataset"], dataset["batches"], dataset["images"]) == ("digits", 1, 160)
    (features,) = dataset["feature_sets"]
    assert (features["ok"], features["quarantined"], features["pending"]) == (96, 0, 64)
    assert (features["shards_done"], features["shards"], features["format"]) == (2, 3, "zarr")
    assert features["layers"] == {"avg_pool": 1280}
    assert [head["kind"] for head in features["heads"]] == ["softmax"]
    assert ended.json["bytes"] > features["bytes"] > 160 * 1280
    drawn = cli("status", store).out
    assert "2 of 3 done" in drawn
    assert "efficientnet-lite0: avg_pool 1280" in drawn


def test_quarantine(cli: Cli, tmp_path: Path, digits_folder: Path, compiled_lite0: Path):
    source, store = images_in(tmp_path / "digits", digits_folder, 40), empty_store(tmp_path / "store", compiled_lite0)
    (source / "0" / "[bold]empty.png").write_bytes(b"")
    (source / "1" / "page.jpg").write_bytes(b"<html>")
    for preparation in ("crop", "stretch"):
        ended = cli(
            "extract" if preparation == "stretch" else "run", "--source", source, "--store", store, *FAST, "--fit", preparation
        )
        assert ended.code == 0, ended.err
    found = cli("quarantine", store, "--json").json["quarantined"]
    assert [(each["dataset"], each["id"], each["reason"]) for each in found] == [
        ("digits", "0/[bold]empty.png", "empty"),
        ("digits", "1/page.jpg", "not-an-image"),
    ]
    assert found[1]["detail"] == "an HTML page"
    drawn = cli("quarantine", store).out
    assert "2 quarantined" in drawn
    assert "[bold]empty.png" in drawn
    assert cli("quarantine", store, "--dataset", "birds", "--json").json["quarantined"] == []


def test_a_spec_file_and_options_over_it(cli: Cli, store: Path, finished_store: Path):
    place = store.parent / "spec.yaml"
    place.write_text(
        yaml.safe_dump({"source": str(finished_store.parent / "images"), "store": "/nowhere", "dataset": "digits"})
    )
    assert cli("select", place).code == 2
    ended = cli("select", place, "--store", store, "--json")
    assert ended.code == 0, ended.err
    assert ended.json["cached"]


def test_notes_are_said(cli: Cli, store: Path):
    ended = cli("fit", "--store", store, "--labels", "none", "--json")
    assert ended.code == 0
    assert "Labels were not asked for, so no head was fitted." in ended.said
    assert ended.json["notes"] == ["Labels were not asked for, so no head was fitted."]


def test_help(cli: Cli):
    ended = cli("--help")
    assert ended.code == 0
    for command in ("run", "scan", "extract", "select", "fit", "report", "init", "status", "quarantine"):
        assert command in ended.out
    assert "--source" in cli("run", "--help").out


def test_the_backbones_are_listed(cli: Cli):
    ended = cli("backbones")
    assert ended.code == 0, ended.err
    for word in ("48 backbones", "efficientnet-lite0", "resnet50", "here", "none"):
        assert word in ended.out
    found = cli("backbones", "--json").json["backbones"]
    assert {"backbone", "parameters", "size", "cut", "width", "weights"} == set(found[0])


def test_the_cuts_of_a_backbone_are_listed(cli: Cli):
    ended = cli("backbones", "lenet-5")
    assert ended.code == 0, ended.err
    assert "lenet-5 at 32 x 32 pixels" in ended.out
    assert "f6 (default)" in ended.out
    assert "--pooling none keeps maps whole" in " ".join(ended.out.split())
    assert cli("backbones", "lenet-5", "--json").json["cut"] == "f6"


def test_an_unknown_backbone_is_refused_with_the_near_ones(cli: Cli):
    ended = cli("backbones", "resnet5")
    assert ended.code == 2
    assert "There is no backbone 'resnet5'. Did you mean resnet50" in ended.said


def test_an_audit_of_a_whole_store_finds_nothing(cli: Cli, finished_store: Path):
    ended = cli("audit", finished_store, "--sample", 20)
    assert ended.code == 0, ended.err
    for word in ("rows checked", "20 of 160", "equal bit for bit", "lowest cosine"):
        assert word in ended.out
    (found,) = cli("audit", finished_store, "--sample", 20, "--json").json["audited"]
    assert (found["checked"], found["equal_bits"], found["findings"]) == (20, 20, [])


def test_an_audit_that_finds_something_says_what_and_exits_1(cli: Cli, finished_store: Path, tmp_path: Path):
    store = copy_of(finished_store, tmp_path / "store")
    array = zarr.open(str(feature_set_in(store) / "features.zarr"), mode="r+")["avg_pool"]
    array[3] = np.asarray(array[3]) + 1
    ended = cli("audit", store, "--sample", 160)
    assert ended.code == 1
    assert "Not as committed" in ended.out
    assert "damaged" in ended.out
