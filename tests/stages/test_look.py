"""Look: one picture of a real network and a real head, and what is said where options do not go together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from tests.backbones import onnx_nets
from tests.made_heads import DIGEST, with_head
from tests.reading.made import Made, ids
from tests.stores import copy_of, extracted, images_in, objects, spec_for
from trunkline import open_features
from trunkline.errors import BackboneError, DataError, SourceError, SpecError
from trunkline.looking.activations import cache
from trunkline.stages.look import LookReceipt, look
from trunkline.stages.select import select


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "looks"))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX network of 16 pixels, described."""
    folder = tmp_path_factory.mktemp("own")
    onnx.save(onnx_nets.convolutional(), folder / "net.onnx")
    (folder / "net.yaml").write_text("{size: 16, normalisation: torch}")
    return folder / "net.onnx"


@pytest.fixture
def digit(digits_folder: Path) -> str:
    return str(next((digits_folder / "3").glob("*.png")))


def is_a_picture(receipt: LookReceipt) -> bool:
    with Image.open(receipt.out) as image:
        return (image.format, image.size) == ("PNG", (1600, 900)) and len(np.unique(np.asarray(image))) > 50


def test_a_network_of_ones_own_is_drawn_without_a_store(network: Path, digit: str, tmp_path: Path):
    told = []
    names = ["stem.relu.0", "stem.conv.0-2"]
    receipt = look(digit, str(tmp_path / "look.png"), backbone=str(network), layers=names, progress=told.append)
    assert is_a_picture(receipt)
    assert (receipt.backbone, receipt.layers) == ("net.onnx", {"stem.relu.0": (8, 8, 6), "stem.conv.0-2": (8, 8, 8)})
    assert (receipt.row, receipt.label, receipt.head, receipt.answers, receipt.evidence) == (None, None, "", (), "")
    assert (told[0].done, told[-1].done, told[-1].total) == (0, 3, 3)


@pytest.mark.slow
@pytest.mark.parametrize("layers", [(), ("head_relu", "-4")], ids=["default", "named"])
def test_the_default_network_with_a_head_of_its_features(finished_store: Path, tmp_path: Path, layers: tuple[str, ...]):
    store = copy_of(finished_store, tmp_path / "store")
    with_head(store)
    before = objects(store)
    features = open_features(store)
    row = int(features.rows("test")[0])
    receipt = look(f"row:{row}", str(tmp_path / "look.png"), layers=layers, store=str(store), head=DIGEST)
    assert is_a_picture(receipt)
    assert (receipt.row, receipt.label, receipt.head) == (row, receipt.image.split("/")[0], f"softmax-{DIGEST}")
    assert receipt.evidence == "class activation"
    assert receipt.answers[0]["probability"] >= receipt.answers[1]["probability"]
    assert len(receipt.layers) == (2 if layers else 5)
    assert receipt.layers["head_relu"] == (7, 7, 1280)
    assert objects(store) == before, "the store is only read"


@pytest.mark.slow
@pytest.mark.parametrize(("pooling", "evidence"), [("avg", "class activation"), ("max", "occlusion")])
def test_a_store_of_ones_own_network(network: Path, digits_folder: Path, tmp_path: Path, pooling: str, evidence: str):
    images = images_in(tmp_path / "images", digits_folder, 80)
    spec = spec_for(images, tmp_path / "store", backbone=str(network), layers=["stem.relu.0"], pooling=pooling)
    extracted(spec)
    select(spec)
    features = open_features(spec.store)
    image = str(images / features.snapshot.ids(features.rows()[:1])[0].as_py())
    with pytest.raises(
        BackboneError, match=r"are of your own network net\.onnx, whose file the store does not hold\. Give it with --backbone"
    ):
        look(image, str(tmp_path / "a.png"), store=spec.store)
    plain = look(image, str(tmp_path / "a.png"), store=spec.store, backbone=str(network))
    assert (plain.row, plain.head) == (0, ""), "there is no head yet"
    with_head(Path(spec.store))
    receipt = look(image, str(tmp_path / "b.png"), store=spec.store, backbone=str(network), layers=["stem.relu.0"])
    assert is_a_picture(receipt)
    assert receipt.evidence == evidence


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"out": "look.jpg"}, SpecError, r"look\.jpg is no \.png file, and a look is a PNG"),
        ({"head": "softmax"}, SpecError, r"--head softmax is fitted on features of a store\. Say which: --store"),
        ({"dataset": "digits"}, SpecError, r"--dataset digits is one of a store\. Say which: --store"),
        ({"layers": [str(number) for number in range(9)]}, SpecError, r"9 layers do not fit on one picture\. Name up to 8"),
        ({"backbone": "resnet5"}, BackboneError, "resnet5"),
        ({"preparation": {"size": 3}}, SpecError, "The options: 'preparation.size' is 3"),
        ({"image": "nothing.png"}, SourceError, r"There is no image at .*nothing\.png"),
        ({"image": "row:3"}, SpecError, "row:3 is a row of a dataset"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_said_and_nothing_is_written(digit: str, tmp_path: Path, given, error, words):
    said = {"image": digit, "out": "look.png", **given}
    with pytest.raises(error, match=words):
        look(said.pop("image"), str(tmp_path / said.pop("out")), **said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"preparation": {"fit": "pad"}}, SpecError, "--fit is fixed by the features in .*Leave it out, or leave out --store"),
        ({"backbone": "efficientnet-lite0", "weights": "random"}, BackboneError, "its maps would be others"),
        ({"head": "softmix"}, DataError, "There is no head 'softmix'. Did you mean softmax"),
        ({"head": "softmax"}, DataError, "There are 2 heads of the kind softmax"),
        ({"image": "row:1000"}, DataError, "There is no row 1,000"),
        ({"image": "3/nothing.png"}, DataError, "No image has the id"),
        ({"out": "store/look.png"}, SpecError, "lies in the store itself"),
    ],
    ids=str,
)
def test_what_does_not_fit_a_store_is_said(finished_store: Path, tmp_path: Path, given, error, words):
    store = copy_of(finished_store, tmp_path / "store")
    with_head(store)
    said = {"image": "row:0", "out": "look.png", "head": DIGEST, **given}
    with pytest.raises(error, match=words):
        look(said.pop("image"), str(tmp_path / said.pop("out")), store=str(store), **said)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_features_of_other_weights_are_told_apart(tmp_path: Path, digit: str):
    made = Made(tmp_path / "store")
    made.scan(ids("plum", 10))
    made.extract()
    words = "are of efficientnet-lite0 with the weights 0123456789abcdef, and this is efficientnet-lite0 with [0-9a-f]{64}"
    with pytest.raises(BackboneError, match=words):
        look(digit, str(tmp_path / "look.png"), store=str(made.place))


def test_what_is_no_image_leaves_no_picture_and_no_network(tmp_path: Path, network: Path):
    (tmp_path / "no.png").write_text("no image")
    before = sorted(cache().iterdir()) if cache().exists() else []
    with pytest.raises(SourceError, match=r"no\.png cannot be read as an image: not-an-image"):
        look(str(tmp_path / "no.png"), str(tmp_path / "look.png"), backbone=str(network))
    assert [path.name for path in tmp_path.iterdir()] == ["no.png"]
    assert (sorted(cache().iterdir()) if cache().exists() else []) == before


def test_a_picture_that_is_there_stays(tmp_path: Path, network: Path, digit: str):
    (tmp_path / "look.png").write_text("mine")
    with pytest.raises(SpecError, match="exists already and is left as it is"):
        look(digit, str(tmp_path / "look.png"), backbone=str(network))
    assert (tmp_path / "look.png").read_text() == "mine"
