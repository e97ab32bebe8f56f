"""`pip install trunkline` without extras reads into NumPy and Arrow, in an environment that holds nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trunkline import open_features

ROOT = Path(__file__).parents[1]
READ = """
import json, sys
from trunkline import open_features
features = open_features(sys.argv[1])
x, y = features.numpy("train")
table = features.arrow(ids=features.index()["id"].to_pylist()[:2])
masked = features.numpy(mask=True)[0]
batches = sum(len(x) for _, x, _ in features.batches(50))
refused = {}
for name in ("dask", "xarray", "pandas", "tf_data", "torch"):
    try:
        getattr(features, name)()
    except Exception as error:
        refused[name] = f"{type(error).__name__}: {error}"
json.dump({
    "x": list(x.shape), "sum": float(x.sum(dtype="f8")), "labels": sorted(set(y)), "arrow": table.column_names,
    "first": table["id"][0].as_py(),
    "masked": masked.shape[1], "batches": batches, "card": "images" in features._repr_html_(), "refused": refused,
    "from": sys.modules["trunkline"].__file__,
}, sys.stdout)
"""


def run(*command: str | Path, **more: object) -> str:
    ended = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=280, **more)
    assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


@pytest.mark.slow
def test_the_base_install_reads(tmp_path: Path, finished_store: Path):
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "env")
    python = tmp_path / "env/bin/python"
    constraints = ["--constraint", ROOT / "constraints.txt"]
    if uv := shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])):
        run(uv, "pip", "install", "--quiet", "--python", python, *constraints, ROOT)
    else:
        run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *constraints, ROOT)
    installed = {path.name.split("-")[0].lower() for path in (tmp_path / "env").rglob("*.dist-info")}
    assert {"trunkline", "numpy", "pyarrow", "zarr", "h5py", "fsspec", "pydantic"} <= installed
    assert not installed & {"dask", "pandas", "xarray", "tensorflow", "torch", "typer", "scipy", "pillow"}
    said = json.loads(run(python, "-I", "-W", "error", "-c", READ, finished_store, cwd=tmp_path))
    features = open_features(finished_store)
    x, y = features.numpy("train")
    assert said["from"].startswith(str(tmp_path / "env"))
    assert (said["x"], said["sum"]) == (list(x.shape), float(x.sum(dtype="f8")))
    assert said["labels"] == sorted(set(y))
    assert (said["arrow"], said["first"]) == (["row", "id", "label", "split", "feature"], features.index()["id"][0].as_py())
    assert said["masked"] == features.numpy(mask=True)[0].shape[1]
    assert (said["batches"], said["card"]) == (160, True)
    for name, message in said["refused"].items():
        assert message.startswith(f"UserError: Features.{name}() needs a library that is not here")
    assert len(said["refused"]) == 5
