"""The workers of containers have the settings of those that trunkline starts itself."""

from __future__ import annotations

from typing import Any

import dask
import distributed  # noqa: F401  (its settings come with it)
import yaml
from dask.utils import parse_timedelta

from tests.infra.files import INFRA
from trunkline.clusters import settings
from trunkline.logs import preload


def test_the_settings_are_those_of_our_own_clusters() -> None:
    said = _flat(yaml.safe_load((INFRA / "dask.yaml").read_text())["distributed"])
    preloads = {name: said.pop(name) for name in list(said) if name.endswith(".preload")}
    before = _flat(dask.config.get("distributed"))
    with settings.for_few_long_tasks():
        ours = _flat(dask.config.get("distributed"))
    assert {name: value for name, value in ours.items() if value != before.get(name)}.items() <= said.items()
    assert said.items() <= ours.items()
    assert set(preloads.values()) == {"['trunkline.logs.preload']"}
    assert callable(preload.dask_setup)


def _flat(tree: dict[str, Any], before: str = "") -> dict[str, str]:
    """`worker.profile.enabled` → False; durations in seconds, so that 1s is 1000ms."""
    flat: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{before}{name}.")
        else:
            is_time = isinstance(value, str) and value[:1].isdigit() and value[-1:] in "s"
            flat[before + name] = str(parse_timedelta(value)) if is_time else str(value)
    return flat
