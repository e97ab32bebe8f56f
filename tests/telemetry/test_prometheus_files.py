"""The example configuration of Prometheus: its names are those that are served; its rules do what they say, where promtool is at hand."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from trunkline.telemetry.endpoint import PORT
from trunkline.telemetry.names import FIGURES

FOLDER = Path(__file__).parents[2] / "infra" / "prometheus"
PROMTOOL = shutil.which("promtool")
with_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian's package prometheus) is not installed")


def test_rules_ask_for_figures_that_there_are() -> None:
    rules = [
        rule for group in yaml.safe_load((FOLDER / "trunkline.rules.yml").read_text())["groups"] for rule in group["rules"]
    ]
    asked = {name for rule in rules for name in re.findall(r"trunkline_\w+", rule["expr"])}
    assert asked <= set(FIGURES)
    assert len(asked) >= 4
    labels = {label for rule in rules for label in re.findall(r"(\w+)=~?\"", rule["expr"])} - {"job"}
    assert labels <= {label for figure in FIGURES.values() for label in figure.labels}
    assert all({"summary", "what_to_do"} <= set(rule["annotations"]) for rule in rules if "alert" in rule)


def test_the_scrape_configuration_names_the_endpoints_port_and_the_rules() -> None:
    said = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    targets = {each["job_name"]: each["static_configs"][0]["targets"] for each in said["scrape_configs"]}
    assert targets["trunkline"] == [f"127.0.0.1:{PORT}"]
    assert all((FOLDER / name).exists() for name in said["rule_files"])


@with_promtool
def test_promtool_finds_nothing_wrong() -> None:
    done = subprocess.run(
        [str(PROMTOOL), "check", "config", "prometheus.yml"], cwd=FOLDER, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


@with_promtool
def test_alerts_fire_when_they_should_and_at_no_other_time() -> None:
    tests = Path(__file__).with_name("rules_test.yml")
    done = subprocess.run([str(PROMTOOL), "test", "rules", str(tests)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
