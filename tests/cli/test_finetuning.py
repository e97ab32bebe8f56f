"""`trunkline finetune` as people start it: in processes that are killed, on other networks, and what the stages make of the result."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.finetuning.conftest import small_network  # noqa: F401
from tests.stores import images_in

ROOT = Path(__file__).parents[2]
QUICK = (
    "--head-epochs",
    3,
    "--epochs",
    3,
    "--train-batch",
    16,
    "--unfreeze",
    "block2",
    "--cluster",
    "inline",
    "--name",
    "mine",
)
PATIENCE_SECONDS = 240


def words(folder: Path, network: object, *more: object) -> list[str]:
    given = (
        "finetune",
        "--source",
        folder / "images",
        "--store",
        folder / "store",
        "--backbone",
        network,
        *QUICK,
        *more,
        "--json",
    )
    return [str(each) for each in given]


@contextmanager
def started(given: list[str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", "from trunkline.cli import main; main()", *given]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(moment: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not moment():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_kill_9_in_both_phases_and_the_same_weights_in_the_end(
    tmp_path: Path,
    digits_folder: Path,
    small_network: Path,  # noqa: F811
) -> None:
    results = []
    for name in ("whole", "killed"):
        folder = tmp_path / name
        images_in(folder / "images", digits_folder, 200)
        given = words(folder, small_network, "--dropout", 0.3, "--mixup", 0.2, "--epochs", 30, "--patience", 30)
        checkpoints = folder / "store/finetuned/mine/checkpoints"
        for phase in ("head", "layers") if name == "killed" else ():
            with started(given) as process:
                wait_until(lambda c=checkpoints, p=phase: [*c.glob(f"{p}-*/epoch-*.json")], process)
                process.send_signal(signal.SIGKILL)
        with started(given) as process:
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
            assert process.returncode == 0, err
        results.append(json.loads(out.splitlines()[-1]))
        assert not checkpoints.exists()
    assert results[0]["sha256"] == results[1]["sha256"]
    backbones = [Path(result["backbone"]) for result in results]
    assert sha256(backbones[0]) == sha256(backbones[1]) == results[0]["sha256"]
    lineage = json.loads((backbones[1].parent / "lineage.json").read_text())
    assert lineage["resumed"] >= 4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_every_stage_takes_the_result(cli: Cli, tmp_path: Path, digits_folder: Path, small_network: Path) -> None:  # noqa: F811
    images_in(tmp_path / "images", digits_folder, 100)
    ended = cli(*words(tmp_path, small_network))
    assert ended.code == 0, ended.said
    made = ended.json
    where = (
        "--source",
        tmp_path / "images",
        "--store",
        tmp_path / "store",
        "--cluster",
        "inline",
        "--backbone",
        made["backbone"],
    )
    ran = cli("run", *where, "--head", "softmax", "--json")
    assert ran.code == 0, ran.said
    assert ran.json["ok"] == 100
    assert (ran.json["features"]["layer"], ran.json["features"]["dim"]) == ("pool", 16)
    recipe = json.loads((Path(ran.json["feature_set"]) / "recipe.json").read_text())
    assert recipe["weights"] == made["sha256"]
    assert cli("predict", ran.json["feature_set"], "--head", "softmax", "--json").json["rows"] == 100
    assert cli("backbones", made["backbone"], "--json").json["cut"] == "pool"
    assert cli("gc", tmp_path / "store", "--json").json["unknown"] == []
    seen = cli("look", "row:0", "--store", tmp_path / "store", "--out", tmp_path / "look.png", "--json")
    assert seen.code == 0, seen.said
    assert seen.json["evidence"] == "class activation"
    again = cli(*words(tmp_path, made["backbone"], "--name", "mine-again"))  # a fine-tuned one is a backbone like others
    assert again.code == 0, again.said
    assert again.json["sha256"] != made["sha256"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    ("backbone", "more"),
    [
        ("resnet50", ("--weights", "random", "--size", 32, "--widths", "32,16,8", "--unfreeze", "conv5_block3")),
        ("efficientnet-lite0", ("--size", 32, "--unfreeze", "0.2", "--layer", "block10_add", "--pooling", "max")),
    ],
)
def test_other_networks_take_the_same_path(
    cli: Cli, tmp_path: Path, digits_folder: Path, backbone: str, more: tuple[object, ...]
) -> None:
    images_in(tmp_path / "images", digits_folder, 60)
    ended = cli(*words(tmp_path, backbone, "--epochs", 1, "--head-epochs", 1, *more))
    assert ended.code == 0, ended.said
    assert ended.json["epochs"] == {"head": 1, "layers": 1}
    where = (
        "--source",
        tmp_path / "images",
        "--store",
        tmp_path / "store",
        "--cluster",
        "inline",
        "--backbone",
        ended.json["backbone"],
    )
    assert cli("extract", *where, "--json").json["counts"]["ok"] == 60


def test_options_are_laid_over_the_file_and_what_is_wrong_is_said(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "tune.yaml").write_text("{epochs: 3, augmentation: {flip: false}, unfreze: 3}")
    store = ("--source", tmp_path, "--store", tmp_path / "store")
    ended = cli("finetune", *store, "--tune", tmp_path / "tune.yaml", "--crop", 0.5)
    assert ended.code == 2
    assert "tune.yaml: unknown key 'unfreze'. Did you mean unfreeze" in ended.said
    assert "--widths '3,x' is no list of numbers. Write it as 32,16,8." in cli("finetune", *store, "--widths", "3,x").said
    assert "'epochs' is 0: input should be greater than or equal to 1" in cli("finetune", *store, "--epochs", 0).said
    assert "'augmentation.crop' is 1.5" in cli("finetune", *store, "--crop", 1.5).said
