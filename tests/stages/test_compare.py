"""Compare: runs are found by id and by path, and what is not one is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.comparing.runs import said
from trunkline.errors import CorruptStore, SpecError, StoreError
from trunkline.locations import Location
from trunkline.stages import compare as comparing
from trunkline.stages.compare import compare_runs, load_run
from trunkline.store.feature_store import FeatureStore

ONE, TWO = "20261105T093000Z-0a1b", "20261206T093000Z-ffff"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    FeatureStore.create(Location.of(tmp_path / "store"))
    for run in (ONE, TWO):
        folder = tmp_path / "store/runs" / run
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(said(run)))
    return tmp_path / "store"


def test_a_run_is_found_by_id_folder_and_file(store: Path, monkeypatch: pytest.MonkeyPatch):
    folder = store / "runs" / ONE
    for name, root in ((ONE, str(store)), (str(folder), None), (f"{folder}/metrics.json", None), (f"{folder}/", None)):
        assert load_run(name, root).run == ONE
    monkeypatch.chdir(folder)
    assert load_run("metrics.json").run == ONE
    monkeypatch.chdir(store / "runs")
    assert load_run(ONE).run == ONE


def test_the_run_of_a_real_store_equals_itself(finished_store: Path):
    (run,) = (file.parent.name for file in finished_store.glob("runs/*/metrics.json"))
    found = compare_runs(run, str(finished_store / "runs" / run), str(finished_store))
    assert found.warnings == ["Both are the same run."]
    (pair,) = found.heads
    differences = {figure.name: figure.difference for figure in pair.figures}
    assert (differences["macro_f1"], differences["accuracy"]) == (0, 0)
    assert pair.first is not None
    assert pair.first.figures["macro_f1"] > 0.3
    assert found.first.store == str(finished_store)


def test_the_page_is_written_where_it_is_asked_for(store: Path, tmp_path: Path):
    compare_runs(ONE, TWO, str(store), str(tmp_path / "out/page.html"))
    assert ONE in (tmp_path / "out/page.html").read_text()


def test_an_id_needs_a_store():
    with pytest.raises(SpecError, match=r"Of which store is the run 'abc'\? Give --store STORE, or the path"):
        load_run("abc")


def test_an_unknown_run_is_said_with_the_near_ones(store: Path):
    said_near = rf"There is no run '20261105T093000Z-0a1c': .* Did you mean {ONE}.*The last runs there: {ONE}, {TWO}"
    with pytest.raises(StoreError, match=said_near):
        load_run("20261105T093000Z-0a1c", str(store))
    with pytest.raises(StoreError, match=rf"does not exist\. Did you mean {TWO}"):
        load_run(str(store / "runs" / TWO[:-1]))
    with pytest.raises(StoreError, match=r"The last runs there: none\."):
        load_run("/nowhere/at/all")


def test_no_store_is_said(tmp_path: Path):
    with pytest.raises(StoreError, match="There is no feature store at"):
        load_run(ONE, str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "Expecting property name"),
        ("{}", "'features' is missing"),
        (json.dumps(said(rows="x")), "rows is 'x', which is no count"),
    ],
)
def test_a_record_that_is_none_is_said(store: Path, content: str, words: str):
    (store / "runs" / ONE / "metrics.json").write_text(content)
    with pytest.raises(CorruptStore, match=rf"metrics\.json is not the record of a run: {words}"):
        load_run(ONE, str(store))


def test_a_record_that_is_far_too_large_is_not_read(store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(comparing, "MOST_BYTES", 100)
    with pytest.raises(CorruptStore, match="has more than 100 bytes: it is not the record of a run"):
        load_run(ONE, str(store))


def test_a_run_may_not_lead_out_of_the_store(store: Path):
    with pytest.raises(StoreError, match="would leave"):
        load_run("..", str(store))
