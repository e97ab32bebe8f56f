"""Records of runs, as `metrics.json` holds them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from trunkline.comparing.records import RunRecord
from trunkline.metrics import measure
from trunkline.specs import RunSpec


def classes(right: float, seed: int = 0, rows: int = 400) -> dict[str, Any]:
    """A head that is right so often."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 6, rows)
    said = np.where(generator.random(rows) < right, truth, (truth + 1) % 6)
    return measure("classes", truth, 0.7 * np.eye(6)[said] + 0.05, 6).summary()


def number() -> dict[str, Any]:
    """A regression."""
    truth = np.linspace(0, 1, 50)
    return measure("regression", truth, (truth + 0.1 * np.sin(40 * truth))[:, None], 1).summary()


def said(run: str = "20261105T093000Z-0a1b", heads: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    """What a run of this code says."""
    spec = RunSpec(source="photos", store="features").model_dump(mode="json")
    record = {
        "spec": spec | changes.pop("spec", {}),
        "run": run,
        "dataset": "photos",
        "rows": 2000,
        "ok": 1990,
        "quarantined": 10,
        "pending": 0,
        "removed": 0,
        "reasons": {"empty": 10},
        "extracted": 2000,
        "reused": 0,
        "seconds": {"scan": 0.5, "extract": 8.0, "select": 0.2, "fit": 3.3},
        "images_per_second": 250.0,
        "engine": None,
        "effects": [],
        "features": {"layer": "avg_pool", "dim": 1280, "kept": 996, "dtype": "float32"},
        "heads": heads if heads is not None else [{"kind": "softmax"} | classes(0.9), {"kind": "forest"} | classes(0.8)],
        "notes": [],
        "feature_set": "/data/features/features/photos/3f9a1c",
        "report": "/data/features/runs/x/report.html",
    }
    return record | changes


def record(*args: Any, **changes: Any) -> RunRecord:
    return RunRecord.of_json(json.dumps(said(*args, **changes)).encode())
