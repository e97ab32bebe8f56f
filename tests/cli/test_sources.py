"""The options that say what a source is, and what a bound store already knows of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from trunkline.cli.options import _OPTIONS, spec_of
from trunkline.errors import SpecError
from trunkline.locations import Location
from trunkline.sources import TableSource, source_of
from trunkline.specs import ColumnsSpec
from trunkline.store.feature_store import FeatureStore


def options(**given: object) -> dict[str, object]:
    return dict.fromkeys(_OPTIONS) | given


def test_columns_have_options():
    said = options(source="/x.csv", store="/store", source_kind="table", id_column="key", label_column="species")
    spec = spec_of(None, said)
    assert (spec.source_kind, spec.columns) == ("table", ColumnsSpec(id="key", label="species"))


def test_a_bound_table_is_known_with_its_columns(tmp_path: Path):
    table = TableSource(Location.of(tmp_path / "x.csv"), ColumnsSpec(id="key", label="species"))
    FeatureStore.create(Location.of(tmp_path / "store")).dataset("birds").bind(table)
    spec = spec_of(None, options(store=str(tmp_path / "store")))
    assert spec.dataset == "birds"
    assert source_of(spec) == table
    relabelled = spec_of(None, options(store=str(tmp_path / "store"), label_column="genus"))
    assert source_of(relabelled) == TableSource(table.root, ColumnsSpec(id="key", label="genus"))


def test_an_unknown_kind_is_refused():
    with pytest.raises(SpecError, match="source_kind"):
        spec_of(None, options(source="/x", store="/y", source_kind="zip"))


def test_status_shows_a_bound_glob_as_it_was_given(cli: Cli, tmp_path: Path):
    store = FeatureStore.create(Location.of(tmp_path / "store"))
    store.dataset("birds").bind(source_of(spec_of(None, options(source=f"{tmp_path}/*/*.jpg", store="/x"))))
    ended = cli("status", tmp_path / "store", "--json")
    assert ended.code == 0, ended.err
    assert f"{tmp_path}/*/*.jpg" in json.dumps(ended.json)
