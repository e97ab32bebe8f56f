"""The map behind a pooled feature: of the same network, and its mean is the feature."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.backbones import onnx_nets
from trunkline import runtimes
from trunkline.backbones.compilation import Order
from trunkline.backbones.compiled import Compiled, compiled
from trunkline.backbones.golden import golden_pixels
from trunkline.backbones.resolution import order_of
from trunkline.locations import Location
from trunkline.runtimes import pooled_maps as module
from trunkline.runtimes.pooled_maps import pooled_maps
from trunkline.specs import RunSpec


@pytest.fixture(scope="module")
def lite0(compiled_lite0: Path, lite0_order: Order) -> Compiled:
    return compiled(Location.of(compiled_lite0), lite0_order)


def test_the_mean_of_the_map_is_the_feature(lite0: Compiled):
    pixels = golden_pixels(224, 2)[:5]
    maps = pooled_maps(lite0, "avg_pool", 2)
    assert maps is not None
    found = maps.run(pixels)
    assert found is not None
    assert (found[0].shape, found[1].shape) == ((5, 7, 7, 1280), (5, 1280))
    np.testing.assert_allclose(found[0].mean(axis=(1, 2)), found[1], atol=1e-5)
    runtime = runtimes.load("openvino", lite0, 2)
    np.testing.assert_allclose(found[1][:2], runtime.run(pixels[:2])["avg_pool"], atol=1e-5)


def test_it_is_opened_once_wherever_the_same_files_lie(lite0: Compiled, tmp_path: Path):
    first = pooled_maps(lite0, "avg_pool", 2)
    assert pooled_maps(replace(lite0, location=Location.of(tmp_path)), "avg_pool", 2) is first


def test_a_map_whose_mean_is_another_is_none(lite0: Compiled, monkeypatch: pytest.MonkeyPatch):
    maps = pooled_maps(lite0, "avg_pool", 2)
    assert maps is not None
    monkeypatch.setattr(module, "ROUNDING", -1.0)
    assert maps.run(golden_pixels(224, 2)[:1]) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "pooling", "side"),
    [("flat", "avg", 8), ("pooled", "avg", 8), ("stem.relu.0", "avg", 8), ("stem.relu.0", "max", 0), ("head.Gemm", "avg", 0)],
)
def test_averages_are_found_whoever_made_them(layer: str, pooling: str, side: int, tmp_path: Path):
    onnx.save(onnx_nets.convolutional(), tmp_path / "net.onnx")
    (tmp_path / "net.yaml").write_text("{size: 16, normalisation: torch}")
    spec = RunSpec(source="-", store="-", backbone=str(tmp_path / "net.onnx"), layers=(layer,), pooling=pooling)
    backbone = compiled(Location.of(tmp_path / "store"), order_of(spec))
    maps = pooled_maps(backbone, layer, 1)
    assert (maps is not None) == bool(side)
    if maps is not None:
        pixels = golden_pixels(16, backbone.batch)[:3]
        found = maps.run(pixels)
        assert found is not None
        assert found[0].shape == (3, side, side, found[1].shape[1])
