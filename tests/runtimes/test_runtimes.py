"""Both runtimes on real pictures: equal to each other, each row a function of its own picture alone."""

from __future__ import annotations

import hashlib
import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_image

from trunkline import runtimes
from trunkline.backbones.compiled import Compiled, compiled
from trunkline.backbones.golden import cosines, golden_pixels, in_batches
from trunkline.backbones.resolution import order_of
from trunkline.errors import CorruptStore, GoldenMismatch, SpecError
from trunkline.locations import Location
from trunkline.runtimes import RUNTIMES, Runtime
from trunkline.specs import RunSpec

NAMES = sorted(RUNTIMES)
BATCH = 2  # what the maps of the default backbone lead to
pytestmark = [pytest.mark.usefixtures("tensorflow"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(scope="module")
def lite0(compiled_lite0, lite0_order) -> Compiled:
    return compiled(Location.of(compiled_lite0), lite0_order)


@pytest.fixture(scope="module")
def both(lite0, tensorflow) -> dict[str, Runtime]:  # noqa: ARG001 (it is there for its import)
    """Each checked against the golden vectors as it is loaded."""
    return {name: runtimes.load(name, lite0, 2) for name in NAMES}


@pytest.fixture(scope="module")
def pictures(digits_folder: Path) -> NDArray[np.uint8]:
    """Views of two photos and some digits, (32, 224, 224, 3)."""
    views = []
    for name in ("china.jpg", "flower.jpg"):
        photo = Image.fromarray(load_sample_image(name))
        for number in range(12):
            left, top = 17 * number, 11 * number
            views.append(np.asarray(photo.crop((left, top, left + 300, top + 300)).resize((224, 224))))
    for path in sorted(digits_folder.rglob("*.png"))[:8]:
        views.append(np.asarray(Image.open(path).convert("RGB").resize((224, 224))))
    return np.stack(views)


@pytest.fixture(scope="module")
def features(both, pictures) -> dict[str, NDArray[np.float32]]:
    return {name: in_batches(both[name].run, pictures, BATCH)["avg_pool"] for name in NAMES}


@pytest.fixture(autouse=True)
def nothing_loaded():
    runtimes._loaded.clear()
    yield
    runtimes._loaded.clear()


def test_they_agree_on_real_pictures(features, pictures):
    assert len(pictures) == 32
    for values in features.values():
        assert (values.shape, values.dtype) == ((32, 1280), np.float32)
    assert cosines(features["openvino"], features["tensorflow"]).min() >= 0.9999
    # and the pictures are not so alike that anything would agree
    assert cosines(features["openvino"], np.roll(features["openvino"], 12, axis=0)).min() < 0.9


@pytest.mark.parametrize("name", NAMES)
def test_a_row_depends_on_its_own_picture_alone(both, features, pictures, name):
    """At another place of the batch, next to other pictures: the same bits."""
    moved = np.zeros_like(pictures)
    moved[20:30] = pictures[9::-1]
    np.testing.assert_array_equal(in_batches(both[name].run, moved, BATCH)["avg_pool"][29:19:-1], features[name][:10])


def test_a_result_stays_what_it_was_when_the_next_batch_runs(both, features, pictures):
    first = in_batches(both["openvino"].run, pictures, BATCH)["avg_pool"]
    in_batches(both["openvino"].run, np.zeros_like(pictures), BATCH)
    np.testing.assert_array_equal(first, features["openvino"])


@pytest.mark.parametrize("name", NAMES)
def test_a_fingerprint_names_runtime_version_and_precision(both, name):
    found = both[name].fingerprint()
    assert found["runtime"] == name
    assert found["precision"] == "f32"
    assert found[name][0].isdigit()


def test_loading_checks_once_and_keeps(lite0):
    one = runtimes.load("openvino", lite0, 2)
    assert runtimes.load("openvino", lite0, 2) is one
    elsewhere = replace(lite0, location=Location.of(str(lite0.location) + "/../" + lite0.location.name + "-copy"))
    shutil.copytree(lite0.location.path, elsewhere.location.path)
    try:
        other = runtimes.load("openvino", elsewhere, 2)
        assert other is not one
        assert list(runtimes._loaded) == [("openvino", elsewhere.location.uri, "f32")]  # one in memory at a time
    finally:
        shutil.rmtree(elsewhere.location.path)


def test_several_are_kept_at_once_and_others_dropped(lite0):
    one = runtimes.load("openvino", lite0, 2)
    elsewhere = replace(lite0, location=Location.of(str(lite0.location) + "/../" + lite0.location.name + "-second"))
    shutil.copytree(lite0.location.path, elsewhere.location.path)
    try:
        first, second, again = runtimes.load_each([("openvino", lite0), ("openvino", elsewhere), ("openvino", lite0)], 2)
        assert first is one
        assert again is one
        assert second is not one
        assert len(runtimes._loaded) == 2
        assert runtimes.load("openvino", elsewhere, 2) is second
        assert len(runtimes._loaded) == 1
    finally:
        shutil.rmtree(elsewhere.location.path)


def with_golden(lite0: Compiled, folder: Path, golden: NDArray[np.float32]) -> Compiled:
    shutil.copytree(lite0.location.path, folder / "backbone")
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, avg_pool=golden)
    (folder / "backbone" / lite0.files / "golden.npz").write_bytes(out.getvalue())
    sha256 = lite0.sha256 | {"golden.npz": hashlib.sha256(out.getvalue()).hexdigest()}
    return replace(lite0, location=Location.of(folder / "backbone"), sha256=sha256)


def test_a_network_that_computes_something_else_is_not_used(lite0, tmp_path):
    golden = lite0.golden()["avg_pool"]
    wrong = golden.copy()
    wrong[6] = golden[7]
    with pytest.raises(GoldenMismatch, match=r"backbone on openvino does not compute what its reference computed"):
        runtimes.load("openvino", with_golden(lite0, tmp_path, wrong), 2)
    assert runtimes._loaded == {}


def test_a_damaged_network_is_not_loaded(lite0, tmp_path):
    shutil.copytree(lite0.location.path, tmp_path / "backbone")
    weights = tmp_path / "backbone" / lite0.files / "model.bin"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(CorruptStore, match=r"model\.bin is damaged or incomplete"):
        runtimes.load("openvino", replace(lite0, location=Location.of(tmp_path / "backbone")), 2)


def test_an_unknown_runtime_is_refused(lite0):
    with pytest.raises(SpecError, match=r"There is no runtime 'onnx'; there are: openvino, tensorflow\."):
        runtimes.load("onnx", lite0, 2)


def test_bfloat16_is_near_and_not_equal_where_the_processor_has_it(lite0, pictures, both):
    from trunkline.runtimes.openvino import has_bf16

    fast = replace(lite0, precision="bf16")
    if not has_bf16():
        with pytest.raises(SpecError, match="this processor has no bfloat16"):
            runtimes.load("openvino", fast, 2)
        return
    runtime = runtimes.load("openvino", fast, 2)
    found, exact = (
        in_batches(runtime.run, pictures, BATCH)["avg_pool"],
        in_batches(both["openvino"].run, pictures, BATCH)["avg_pool"],
    )
    assert not np.array_equal(found, exact)
    assert cosines(found, exact).min() > 0.97
    assert runtime.fingerprint()["precision"] == "bf16"


def test_bfloat16_is_refused_where_the_processor_lacks_it(lite0, monkeypatch):
    from trunkline.runtimes import openvino as module

    monkeypatch.setattr(module, "has_bf16", lambda: False)
    with pytest.raises(SpecError, match=r"precision bf16: this processor has no bfloat16 .* Use --precision f32"):
        runtimes.load("openvino", replace(lite0, precision="bf16", location=lite0.location), 2)


def test_tensorflow_refuses_a_network_without_a_keras_file(lite0):
    onnx = replace(lite0, sha256={name: digest for name, digest in lite0.sha256.items() if name != "model.keras"})
    with pytest.raises(SpecError, match="An ONNX network runs on openvino only"):
        runtimes.load("tensorflow", onnx, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_network_cut_at_one_of_its_layers_gives_that_layer_alone(name: str, two_layers: Compiled):
    pixels = golden_pixels(two_layers.size, two_layers.batch)[: two_layers.batch]
    whole = RUNTIMES[name](two_layers, 2).run(pixels)
    early = runtimes.cut_at(name, two_layers, 2, "block4_add").run(pixels)
    assert (whole.keys(), early.keys()) == ({"block4_add", "avg_pool"}, {"block4_add"})
    assert cosines(early["block4_add"], whole["block4_add"]).min() >= 0.99999
    assert runtimes._loaded == {}


@pytest.fixture(scope="module")
def two_layers(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    spec = RunSpec(source="/nowhere", store="/nowhere", layers=("block4_add", "avg_pool"), preparation={"size": 32})
    return compiled(Location.of(tmp_path_factory.mktemp("two_layers")), order_of(spec))
