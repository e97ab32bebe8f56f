"""`trunkline select`: its options, its tables and its JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.stores import copy_of
from trunkline.cli import options
from trunkline.cli.filtering import drawn
from trunkline.cli.options import spec_of
from trunkline.cli.show import Console
from trunkline.drift import BatchDrift
from trunkline.stages.select import SelectReceipt


@pytest.fixture
def store(finished_store: Path, tmp_path: Path) -> Path:
    return copy_of(finished_store, tmp_path / "store")


def test_each_rule_has_an_option(cli: Cli, store: Path):
    half = cli("select", "--store", store, "--quantile", 0.5, "--json").json
    assert (half["kept"], half["cached"], sum(half["dropped"].values())) == (640, False, 640)
    active = cli("select", "--store", store, "--threshold", 0, "--min-active", 0.999, "--json").json
    assert 0 < active["kept"] < 1280
    assert active["dropped"]["zero in too many images"] > 0
    alone = cli("select", "--store", store, "--duplicates", 0.8, "--json").json
    assert alone["dropped"]["correlates with an earlier one"] > 0
    assert sum(alone["dropped"].values()) + alone["kept"] == 1280


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--quantile", "1.5"), "'select.quantile' is 1.5: input should be less than 1"),
        (("--quantile", "nan"), "'select.quantile' is nan: input should be a finite number"),
        (("--quantile", "0.1", "--threshold", "0.1"), "threshold and quantile both say how much variance is enough"),
        (("--duplicates", "0"), "'select.duplicates' is 0.0: input should be greater than 0"),
        (("--threshold", "1e9"), "nothing would be left. Lower select.threshold"),
    ],
)
def test_what_cannot_be_is_refused(cli: Cli, store: Path, given: tuple[str, ...], words: str):
    ended = cli("select", "--store", store, *given)
    assert ended.code == 2
    assert words in ended.said


@pytest.mark.parametrize("rule", ["threshold", "quantile", "relative_threshold"])
@pytest.mark.parametrize("option", ["threshold", "quantile"])
def test_an_option_takes_the_place_of_the_files_rule(tmp_path: Path, rule: str, option: str):
    place = tmp_path / "spec.yaml"
    place.write_text(f"source: a\nstore: b\nselect: {{{rule}: 0.2, min_active: 0.3}}\n")
    select = spec_of(str(place), dict.fromkeys(options._OPTIONS) | {option: 0.4}).select
    assert getattr(select, option) == 0.4
    assert select.min_active == 0.3
    assert select.model_dump(exclude_defaults=True).keys() == {option, "min_active"}


def test_a_refit_shows_how_the_mask_moved(cli: Cli, store: Path):
    assert cli("select", "--store", store, "--json").json["moved"] is None
    refitted = cli("select", "--store", store, "--refit", "--json").json
    kept = refitted["kept"]
    assert refitted["moved"] == {"kept_before": kept, "kept_after": kept, "dropped": 0, "added": 0, "overlap": 1.0}
    shown = " ".join(cli("select", "--store", store, "--refit").out.split())
    for words in ("layer", "avg_pool", "training rows", "new", "kept before", "overlap", "1.0000"):
        assert words in shown


def test_drift_is_a_line_a_batch():
    drift = (BatchDrift(0, 1200, 0.01, ((3, 0.02),), warned=False), BatchDrift(1, 30, 0.9, ((7, -2.5), (1, 1.0)), warned=True))
    receipt = SelectReceipt("mask", "digest", "pool", 9, 8, 0.1, 1200, cached=True, reread=0, seconds=0.1, drift=drift)
    console = Console(width=100)
    with console.capture() as captured:
        console.print(drawn(receipt))
    shown = captured.get()
    assert "Drift, in training standard deviations" in shown
    assert "7 -2.50, 1 +1.00" in shown
    assert "0.9000" in shown
    assert "Moved" not in shown
