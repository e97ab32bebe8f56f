"""verify, gc, unlock and retry-quarantine as commands: what they print, their JSON and their exit codes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.stores import copy_of, empty_store, feature_set_in, images_in, spec_for
from trunkline.clusters import Cluster
from trunkline.locations import Location
from trunkline.stages.extract import extract
from trunkline.stages.scan import scan
from trunkline.store import lease as leases
from trunkline.store.lease import hold


@pytest.fixture
def store(finished_store: Path, tmp_path: Path) -> Path:
    return copy_of(finished_store, tmp_path / "store")


def cut_one(store: Path) -> Path:
    place = feature_set_in(store) / "features.zarr/avg_pool/c/1/0"
    place.write_bytes(place.read_bytes()[:1000])
    return place


def test_a_whole_store_is_verified(cli: Cli, store: Path):
    ended = cli("verify", store, "--json")
    assert ended.code == 0, ended.err
    (features,) = ended.json["feature_sets"]
    assert (features["shards"], features["counts"]["ok"], features["findings"]) == (3, 160, 0)
    assert (ended.json["findings"], ended.json["orphans"], ended.json["repaired"]) == ([], [], None)
    drawn = cli("verify", store, "--dataset", "digits")
    for words in ("shards checked", "160: 160 ok, 0 quarantined, 0 pending", "Nothing is damaged."):
        assert words in drawn.out
    assert "verify: 3 of 3 shards" in drawn.err


def test_damage_is_shown_and_repaired(cli: Cli, store: Path):
    place = cut_one(store)
    ended = cli("verify", store)
    assert ended.code == 1
    for words in ("Not as it was written", "damaged", "features"):
        assert words in ended.out
    ended = cli("verify", store, "--json")
    assert ended.code == 1
    (finding,) = ended.json["findings"]
    assert (finding["what"], finding["severity"], finding["where"], finding["shard"]) == (
        "features",
        "damaged",
        str(place),
        "000000000064",
    )
    repaired = cli("verify", store, "--repair", "--json")
    assert repaired.code == 0, repaired.err
    assert [each["again"] for each in repaired.json["repaired"]] == [["000000000064"]]
    assert "64 rows are extracted again" in repaired.said
    assert "Whoever reads these rows right now may get an error" in repaired.said
    assert cli("verify", store).code == 0


def test_what_cannot_be_repaired_says_so_and_exits_1(cli: Cli, store: Path):
    batch = store / "datasets/digits/manifest/batch-000000.parquet"
    batch.write_bytes(batch.read_bytes()[:100])
    ended = cli("verify", store, "--repair")
    assert ended.code == 1
    assert "irreparable" in ended.out
    assert "not accounted for" in ended.out


def test_gc(cli: Cli, store: Path):
    (feature_set_in(store) / "commits/000000000064.parquet").unlink()
    (store / "notes.txt").write_text("mine")
    dry = cli("gc", store)
    assert dry.code == 0, dry.err
    assert "0 objects, 0 B. Nothing was deleted." in dry.out
    assert "2 more are new: something may be making them (--grace)." in dry.out
    assert "Unknown, left alone" in dry.out
    for place in feature_set_in(store).rglob("*"):
        os.utime(place, (1000, 1000))
    dry = cli("gc", store)
    assert "`trunkline gc STORE --delete` removes them." in " ".join(dry.out.split())
    assert "2 orphans" in cli("verify", store).out
    (moments,) = (feature_set_in(store) / "moments").glob("000000000064-*")
    aside = moments.rename(store / "aside.npz")
    assert "1 orphan (" in cli("verify", store).out
    aside.rename(moments)
    ended = cli("gc", store, "--delete", "--json")
    assert ended.code == 0, ended.err
    found = ended.json
    assert (found["deleting"], len(found["unknown"]), found["passed_over"]) == (True, 1, {})
    assert {orphan["kind"] for orphan in found["orphans"]} == {"features", "moments", "lease"}
    assert found["freed"] == found["bytes"] > 64 * 1280
    assert "Deleted 0 objects" in cli("gc", store, "--delete").out
    assert (store / "notes.txt").exists()


def test_gc_passes_over_what_is_held(cli: Cli, store: Path):
    (feature_set_in(store) / "commits/000000000064.parquet").unlink()
    with hold(Location.of(feature_set_in(store) / "leases")):
        ended = cli("gc", store, "--delete", "--grace", 0)
    assert ended.code == 0, ended.err
    assert "Passed over" in ended.out
    assert "trunkline unlock" in " ".join(ended.out.split())


def test_unlock(cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.1)
    ended = cli("unlock", store)
    assert ended.code == 0, ended.err
    assert "released" in ended.out
    with hold(Location.of(feature_set_in(store) / "leases")):
        ended = cli("unlock", store, "--json")
        assert ended.code == 2
        (lease,) = ended.json["leases"]
        assert (lease["state"], lease["pid"], lease["refused"]) == ("alive", os.getpid(), True)
        assert "A lease is in use, or damaged." in ended.said
        forced = cli("unlock", store, "--force")
        assert forced.code == 0
        assert "released now" in " ".join(forced.out.split())


def test_retry_quarantine(cli: Cli, finished_store: Path, tmp_path: Path, compiled_lite0: Path):
    source = images_in(tmp_path / "images", finished_store.parent / "images", 12)
    (source / "0/empty.png").write_bytes(b"")
    (source / "0/gone.png").write_bytes(b"x")
    spec = spec_for(source, empty_store(tmp_path / "small", compiled_lite0))
    scan(spec)
    (source / "0/gone.png").unlink()
    with Cluster(spec.cluster) as cluster:
        extract(spec, cluster)
    ended = cli("retry-quarantine", spec.store)
    assert ended.code == 0, ended.err
    for words in ("1 (1 empty)", "The source cannot give", "0/gone.png", "extracts the new rows"):
        assert words in ended.out
    ended = cli("extract", "--store", spec.store, "--cluster", "inline", "--json")
    assert ended.json["extracted"] == 1
    again = cli("retry-quarantine", spec.store, "--reason", "empty", "--run", "--json")
    assert again.code == 0, again.err
    (done,) = again.json["retried"]
    assert (done["retried"], done["batch"], list(done["extracted"].values())) == (
        ["0/empty.png"],
        2,
        [{"ok": 0, "quarantined": 1}],
    )
    assert "extracted" in cli("retry-quarantine", spec.store, "--reason", "empty", "--run").out
    assert cli("retry-quarantine", spec.store, "--reason", "emtpy").code == 2


def test_wrong_stores_are_refused(cli: Cli, tmp_path: Path):
    for command in ("verify", "gc", "unlock", "retry-quarantine"):
        ended = cli(command, tmp_path / "nowhere")
        assert ended.code == 2
        assert "There is no feature store" in ended.said
