"""Export a predictor: from pixels to the pipeline's own answers, in files that need no trunkline, or no file at all."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.backbones.onnx_nets import SIZE, convolutional
from tests.made_heads import DIGEST, with_head
from tests.stores import copy_of, empty_store, extracted, images_in, spec_for
from trunkline import images, open_features
from trunkline.errors import BackboneError, DataError, RunError, SpecError
from trunkline.predictor import proof
from trunkline.stages import export_predictor as exporting
from trunkline.stages.export_predictor import export_predictor
from trunkline.stages.predict import head_of
from trunkline.stages.select import select


@pytest.fixture(scope="module")
def made(finished_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a hand-made head beside its own, and `predictor/` exported from it."""
    folder = tmp_path_factory.mktemp("predictor")
    store = copy_of(finished_store, folder / "store")
    with_head(store)
    export_predictor(str(store), str(folder / "predictor"), DIGEST)
    return folder


def pipeline(store: Path, count: int = 30) -> tuple[np.ndarray, np.ndarray, list[Path]]:
    """Pixels and answers of the first test rows, and their files."""
    features, head = head_of(str(store), DIGEST)
    rows = features.rows("test")[:count]
    ids = features.snapshot.ids(rows).to_pylist()
    root = Path(features.dataset.source.root.uri)
    pixels = np.stack([images.load((root / each).read_bytes(), features.recipe) for each in ids])
    return pixels, head.outputs(features.read(rows)), [root / each for each in ids]


def test_both_files_answer_as_the_pipeline_does(made: Path, tensorflow: ModuleType):
    assert tensorflow
    pixels, expected, _ = pipeline(made / "store")
    session = onnxruntime.InferenceSession(made / "predictor/predictor.onnx", providers=["CPUExecutionProvider"])
    by_onnx = session.run(["probabilities"], {"pixels": pixels})[0]
    keras = importlib.import_module("keras")
    model = keras.models.load_model(made / "predictor/predictor.keras", safe_mode=True)
    by_keras = np.asarray(model(pixels, training=False))
    for answers in (by_onnx, by_keras):
        np.testing.assert_allclose(answers, expected, atol=1e-4)
        np.testing.assert_array_equal(answers.argmax(axis=1), expected.argmax(axis=1))
    np.testing.assert_allclose(session.run(None, {"pixels": pixels[:1]})[0], by_onnx[:1], atol=1e-6)  # any batch
    kinds = {type(layer).__module__.split(".")[0] for layer in model.layers}
    assert kinds == {"keras"}
    assert not [layer for layer in model.layers if type(layer).__name__ == "Lambda"]


def test_the_onnx_file_says_what_it_is(made: Path):
    model = onnx.load(made / "predictor/predictor.onnx")
    onnx.checker.check_model(model, full_check=True)
    said = {each.key: each.value for each in model.metadata_props}
    features = open_features(made / "store")
    assert json.loads(said["names"]) == list("0123456789")
    assert json.loads(said["preparation"]) | {"size": 224, "fit": "crop", "pixels": "uint8"} == json.loads(said["preparation"])
    assert (said["recipe"], said["head"], said["size"]) == (features.recipe.digest(), f"softmax-{DIGEST}", "224")
    assert [each.version for each in model.opset_import if not each.domain] == [17]
    assert [each.name for each in model.graph.input] == ["pixels"]


def test_predictor_json_holds_digests_and_proofs(made: Path):
    folder = made / "predictor"
    said = json.loads((folder / "predictor.json").read_text())
    assert sorted(path.name for path in folder.iterdir()) == sorted([*said["sha256"], "predictor.json"])
    for name, sha256 in said["sha256"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
    tests = len(open_features(made / "store").rows("test"))
    for name, count in (("onnx", tests), ("keras", tests), ("prepare", min(20, tests))):
        found = said["proof"][name]
        assert (found["images"], found["labels_equal"] + found["ties"]) == (count, count)
        assert found["largest_difference"] <= 1e-4
    assert (said["opset"], said["input"]["shape"], said["target"]) == (17, ["images", 224, 224, 3], "classes")


def test_the_script_runs_where_nothing_of_trunkline_is(made: Path, tmp_path: Path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(made / "predictor", moved)
    (moved / "predictor.keras").unlink()
    _, expected, files = pipeline(made / "store")
    hide = "import sys, runpy; sys.modules['trunkline'] = None; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", hide, str(moved / "prepare.py"), *map(str, files)]
    ended = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True, cwd=tmp_path, timeout=200)
    answers = np.array([list(json.loads(line)["answers"].values()) for line in ended.stdout.splitlines()])
    np.testing.assert_allclose(answers, expected, atol=1e-4)
    ended = subprocess.run([*command, "--top", "2"], capture_output=True, text=True, check=True, cwd=tmp_path, timeout=200)
    best, second = np.argsort(-expected[0])[:2]
    first = ended.stdout.splitlines()[0]
    assert first.startswith(f"{files[0]}: {best} {expected[0][best]:.3f}"[:-1])
    assert f", {second} " in first


def test_what_lies_there_is_replaced_only_if_asked_and_only_an_export(made: Path, tmp_path: Path):
    store = str(made / "store")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("…")
    with pytest.raises(SpecError, match=r"exists already and is left as it is"):
        export_predictor(store, str(made / "predictor"), DIGEST)
    with pytest.raises(SpecError, match=r"is no earlier export \(it holds no predictor\.json\)"):
        export_predictor(store, str(mine), DIGEST, overwrite=True)
    with pytest.raises(SpecError, match=r"There is no folder"):
        export_predictor(store, str(tmp_path / "no/where"), DIGEST)
    with pytest.raises(SpecError, match=r"is no local folder"):
        export_predictor(store, "s3://bucket/predictor", DIGEST)
    assert [path.name for path in mine.iterdir()] == ["thesis.tex"]


def test_an_answer_that_differs_leaves_nothing(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    earlier = tmp_path / "predictor"
    shutil.copytree(made / "predictor", earlier)
    before = sorted(path.name for path in earlier.iterdir())
    monkeypatch.setattr(proof, "TOLERANCE", 0.0)
    with pytest.raises(RunError, match=r"predictor\.onnx does not answer as the pipeline does"):
        export_predictor(str(made / "store"), str(earlier), DIGEST, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["predictor"]
    assert sorted(path.name for path in earlier.iterdir()) == before


def test_without_the_images_nothing_is_exported(made: Path, tmp_path: Path):
    store = copy_of(made / "store", tmp_path / "store")
    place = store / "datasets/digits/source.json"
    said = json.loads(place.read_text())
    place.write_text(json.dumps(said | {"root": str(tmp_path / "gone")}))
    with pytest.raises(DataError, match=r"Not one of .* committed images of digits is still in the source as it was"):
        export_predictor(str(store), str(tmp_path / "predictor"), DIGEST)
    assert not (tmp_path / "predictor").exists()


def test_a_backbone_file_is_for_onnx_backbones(made: Path, tmp_path: Path):
    with pytest.raises(SpecError, match=r"efficientnet-lite0 is no ONNX file.*leave --backbone out"):
        export_predictor(str(made / "store"), str(tmp_path / "p"), DIGEST, backbone="net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_other_precisions_are_refused(made: Path):
    recipe = open_features(made / "store").recipe
    with pytest.raises(SpecError, match=r"were extracted in bf16, which neither file would repeat"):
        exporting._refuse_other_precisions(recipe.model_copy(update={"precision": "bf16"}))


@pytest.mark.slow
def test_a_prepare_script_that_fails_ends_the_export(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    broken = tmp_path / "package" / "making.py"
    broken.parent.mkdir()
    (broken.parent / "prepare.py").write_text("raise SystemExit('no cv2 here')")
    monkeypatch.setattr(exporting.making, "__file__", str(broken))
    with pytest.raises(RunError, match=r"prepare\.py failed on \d+ images: no cv2 here Nothing was exported"):
        export_predictor(str(made / "store"), str(tmp_path / "p"), DIGEST)
    assert not (tmp_path / "p").exists()


@pytest.fixture
def own(tmp_path: Path, digits_folder: Path, compiled_lite0: Path) -> Path:
    """A store whose backbone is an ONNX file of the user's, channels first and BGR."""
    (tmp_path / "net").mkdir()
    onnx.save(convolutional(), tmp_path / "net/net.onnx")
    (tmp_path / "net/net.yaml").write_text(f"{{size: {SIZE}, normalisation: caffe}}")
    source = images_in(tmp_path / "images", digits_folder, 80)
    spec = spec_for(source, empty_store(tmp_path / "store", compiled_lite0), backbone=str(tmp_path / "net/net.onnx"))
    extracted(spec)
    select(spec)
    with_head(tmp_path / "store")
    return tmp_path


def test_an_onnx_backbone_is_merged_with_the_head(own: Path):
    receipt = export_predictor(str(own / "store"), str(own / "p"), backbone=str(own / "net/net.onnx"))
    assert (receipt.keras, receipt.onnx.holds) == (None, True)
    assert receipt.notes == ["the backbone came as ONNX, so there is no Keras file of it"]
    assert sorted(receipt.files) == ["predictor.json", "predictor.onnx", "prepare.py"]
    assert receipt.onnx.largest_difference < 1e-5


def test_an_onnx_backbone_has_to_be_given_and_to_be_the_same(own: Path):
    with pytest.raises(SpecError, match=r"The backbone net\.onnx came as an ONNX file.*Give the file: --backbone net\.onnx"):
        export_predictor(str(own / "store"), str(own / "p"))
    (own / "net/net.yaml").write_text(f"{{size: {SIZE}, normalisation: torch}}")
    with pytest.raises(SpecError, match=r"is not the file, or its YAML not the normalisation"):
        export_predictor(str(own / "store"), str(own / "p"), backbone=str(own / "net/net.onnx"))
    with pytest.raises(BackboneError, match=r"There is no|does not exist"):
        export_predictor(str(own / "store"), str(own / "p"), backbone=str(own / "net/other.onnx"))
    assert not (own / "p").exists()


def test_without_onnx_nothing_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Refused before the store is opened: there is none here."""
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(BackboneError, match=r"pip install 'trunkline\[onnx\]'"):
        export_predictor(str(tmp_path / "no store"), str(tmp_path / "p"))
    assert not (tmp_path / "p").exists()
