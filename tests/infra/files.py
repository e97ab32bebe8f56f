"""The files under infra/, as tests read them."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
COMPOSE = INFRA / "compose.yaml"
OVERLAYS = ("base", "overlays/trial", "overlays/gpu")


@cache
def compose() -> dict[str, Any]:
    """compose.yaml, its variables as they stand there."""
    document: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return document


@cache
def built(overlay: str) -> tuple[dict[str, Any], ...]:
    """All objects of an overlay."""
    try:
        done = subprocess.run(
            ["kubectl", "kustomize", str(INFRA / "kubernetes" / overlay)], capture_output=True, text=True, timeout=60
        )
    except FileNotFoundError:
        pytest.fail("kubectl is missing: install kubernetes-client (Debian) or kubectl.")
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def pods(objects: tuple[dict[str, Any], ...]) -> dict[str, dict[str, Any]]:
    """Every pod's spec by the name of what makes it: workloads, and scheduler and worker of the DaskCluster."""
    found: dict[str, dict[str, Any]] = {}
    for each in objects:
        name, spec = each["metadata"]["name"], each.get("spec", {})
        if "template" in spec:
            found[name] = spec["template"]["spec"]
        if each["kind"] == "DaskCluster":
            found["dask-scheduler"], found["dask-worker"] = spec["scheduler"]["spec"], spec["worker"]["spec"]
    return found


def containers(objects: tuple[dict[str, Any], ...]) -> dict[str, dict[str, Any]]:
    """Every container as `pod/container`."""
    return {
        f"{pod}/{container['name']}": container
        for pod, spec in pods(objects).items()
        for container in [*spec.get("initContainers", []), *spec["containers"]]
    }
