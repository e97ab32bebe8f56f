"""`make gpu-check` apart from the GPU: what it compares, what it says, and that it says plainly where there is none."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import gpu_check
from tests.gpu_check import Way, compared
from tests.stores import empty_store, images_in
from trunkline.clusters import cuda

REFERENCE = Way("processors", np.random.default_rng(0).normal(size=(50, 128)).astype(np.float32), 100.0)


def test_equal_features_are_right():
    verdict = compared(REFERENCE, Way("one GPU worker", REFERENCE.features * np.float32(1.0), 450.0))
    assert verdict.wrong == ""
    assert verdict.lowest_cosine >= 0.9999999
    assert str(verdict) == "one GPU worker: 450 images/s, 4.5 of the processors', lowest cosine 1.0000000. Right."


def test_rounding_is_allowed_and_one_row_that_is_more_than_rounding_is_not():
    noise = np.random.default_rng(1).normal(scale=1e-4, size=REFERENCE.features.shape).astype(np.float32)
    assert compared(REFERENCE, replace(REFERENCE, features=REFERENCE.features + noise)).wrong == ""
    wrong = REFERENCE.features.copy()
    wrong[7] += np.random.default_rng(2).normal(scale=0.02, size=128).astype(np.float32)
    verdict = compared(REFERENCE, replace(REFERENCE, features=wrong))
    assert verdict.wrong == "features differ by more than a cosine of 0.99999 allows"
    assert 0.99 < verdict.lowest_cosine < 0.99999
    assert "WRONG" in str(verdict)


def test_rows_in_another_order_are_wrong():
    assert compared(REFERENCE, replace(REFERENCE, features=REFERENCE.features[::-1])).wrong


def test_missing_rows_and_nan_are_wrong():
    assert compared(REFERENCE, replace(REFERENCE, features=REFERENCE.features[1:])).wrong.startswith("(49, 128) features, and")
    broken = REFERENCE.features.copy()
    broken[3:5, 0] = np.nan
    assert compared(REFERENCE, replace(REFERENCE, features=broken)).wrong == "2 rows are not finite"


@pytest.mark.skipif(cuda.gpus_of_this_machine() > 0, reason="there is a GPU: `make gpu-check` itself says more")
def test_without_a_gpu_it_says_so_and_exits_2():
    ended = subprocess.run([sys.executable, "-m", "tests.gpu_check"], capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 2
    assert ended.stdout.startswith("Not proven: This machine has no NVIDIA GPU that this process may use")
    assert ended.stdout.endswith("Nothing was run.\n")


def test_a_gpu_without_dask_cuda_is_not_enough(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(gpu_check, "gpus_of_this_machine", lambda: 1)
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    assert gpu_check.main([]) == 2
    assert "cluster.kind cuda needs dask-cuda" in capsys.readouterr().out


def test_what_is_wrong_exits_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    right = compared(REFERENCE, REFERENCE)
    monkeypatch.setattr(gpu_check, "why_not", lambda: "")
    monkeypatch.setattr(gpu_check, "prove", lambda *_: [right])
    assert gpu_check.main(["--folder", str(tmp_path)]) == 0
    assert "The CUDA path is proven on this machine." in capsys.readouterr().out
    monkeypatch.setattr(gpu_check, "prove", lambda *_: [right, replace(right, wrong="it is")])
    assert gpu_check.main(["--folder", str(tmp_path)]) == 1
    assert "The CUDA path is not as it should be." in capsys.readouterr().out


@pytest.mark.slow
def test_a_way_is_a_whole_extraction(tmp_path: Path, digits_folder: Path, compiled_lite0: Path):
    source, store = images_in(tmp_path / "images", digits_folder, 20), empty_store(tmp_path / "store", compiled_lite0)
    way = gpu_check.extracted(source, store, "efficientnet-lite0", "here", {"kind": "inline"}, "openvino")
    assert way.features.shape == (20, 1280)
    assert way.images_per_second > 0
    assert compared(way, way).wrong == ""
