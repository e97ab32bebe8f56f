"""Choose: what is refused before an image is read; and the whole way on real digits, with the networks' real weights."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.report.examples import Document
from tests.stores import images_in, objects
from trunkline.clusters import Cluster
from trunkline.errors import BackboneError, DataError, SourceError, SpecError
from trunkline.probing.choice import Choice
from trunkline.probing.gathering import Gathered
from trunkline.probing.sample import Sample
from trunkline.sources import Listed, source_of
from trunkline.specs import RunSpec
from trunkline.stages.choose import choose, truth_of

NETWORK = "efficientnet-lite0@32"


def chosen(source: Path, backbones: str | None = NETWORK, kind: str = "inline", **more: Any) -> Choice:
    said = {name: more.pop(name) for name in ("layers", "labels", "weights", "split") if name in more}
    cluster = {
        "kind": kind,
        "workers": 2 if kind == "local" else None,
        "address": "tcp://127.0.0.1:1" if kind == "address" else None,
    }
    spec = RunSpec.model_validate({"source": str(source), "store": "features/", "cluster": cluster} | said)
    with Cluster(spec.cluster) as found:
        return choose(spec, backbones, found, **more)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, digits_folder: Path) -> Path:
    return images_in(tmp_path_factory.mktemp("choose") / "digits", digits_folder, 200)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"backbones": "resnet5"}, BackboneError, "There is no backbone 'resnet5'. Did you mean resnet50"),
        ({"backbones": "efficientnet-lite0,lenet-5"}, BackboneError, "Nobody publishes weights of lenet-5"),
        ({"backbones": "mine.onnx@64:gen"}, SpecError, "asks for the pooling 'gen'"),
        ({"out": "page.pdf"}, SpecError, r"--out page\.pdf does not end in \.html"),
        ({"out": "/nowhere/at/all/page.html"}, SpecError, "lies in a folder that does not exist"),
        ({"kind": "address"}, SpecError, "Workers at an address cannot see this machine's temporary folder"),
        ({"labels": "none"}, DataError, "has a label, so there is nothing to compare backbones by"),
        ({"sample": 15}, DataError, "10 classes and the sample 15 images"),
    ],
)
def test_mistakes_are_said_before_anything_is_built(digits: Path, given: dict[str, Any], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        chosen(digits, **given)


def test_sources_that_carry_no_comparison(tmp_path: Path, digits: Path):
    with pytest.raises(SourceError, match="does not exist"):
        chosen(tmp_path / "nowhere")
    shutil.copytree(digits / "3", tmp_path / "one" / "3")
    with pytest.raises(DataError, match="at least two classes with at least two training images each"):
        chosen(tmp_path / "one")


@pytest.fixture(scope="module")
def choice(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Choice, Path]:
    """One network at two sizes, from one decode, with one unreadable image and a class of one."""
    folder = tmp_path_factory.mktemp("chosen")
    source = shutil.copytree(digits, folder / "digits")
    (source / "alone").mkdir()
    shutil.copy(source / "3" / "0003.png", source / "alone")
    (source / "3" / "0003.png").write_bytes(b"no image")
    before = objects(folder)
    found = chosen(
        source, f"{NETWORK},efficientnet-lite0@64:gem", out=str(folder / "choose.html"), split={"test_fraction": 1e-9}
    )
    after = objects(folder)
    assert after.keys() - before.keys() == {"choose.html"}
    assert {name: what for name, what in after.items() if name in before} == before
    return found, folder


@pytest.mark.slow
@pytest.mark.timeout(1200)  # a network is built and compiled for each size
class TestTheWholeWay:
    def test_every_cut_has_its_scores(self, choice: tuple[Choice, Path]):
        found, _ = choice
        assert (found.images, found.sampled, found.classes) == (201, 199, 10)
        assert found.left_out == {"not-an-image": 1}
        assert found.too_few == ["alone"]
        cuts = {(cut.entry, cut.layer): cut for cut in found.cuts}
        assert {entry for entry, _ in cuts} == {NETWORK, "efficientnet-lite0@64:gem"}
        assert (NETWORK, "head_relu") not in cuts
        assert ("efficientnet-lite0@64:gem", "head_relu") in cuts
        assert len([entry for entry, _ in cuts if entry == NETWORK]) == 18
        default = cuts[NETWORK, "avg_pool"]
        assert (default.width, default.size, default.bytes, default.is_default) == (1280, 32, 1280 * 4 * 201, True)
        for cut in found.cuts:
            assert all(math.isfinite(value) for value in (cut.f1, cut.spread, cut.logme, cut.h_score))
            assert 0 < cut.images_per_second < cut.forward
        assert [cut.f1 for cut in found.cuts] == sorted((cut.f1 for cut in found.cuts), reverse=True)

    def test_digits_are_told_apart_and_early_cuts_are_worse(self, choice: tuple[Choice, Path]):
        found, _ = choice
        cuts = {cut.layer: cut for cut in found.cuts if cut.entry == NETWORK}
        assert found.cuts[0].f1 > 0.8
        assert cuts["block0_project_bn"].f1 < found.cuts[0].f1 - 0.1
        assert cuts["block0_project_bn"].logme < max(cut.logme for cut in found.cuts)

    def test_the_networks_own_classes_are_scored(self, choice: tuple[Choice, Path]):
        own = {each.entry: each for each in choice[0].networks}
        assert own.keys() == {NETWORK, "efficientnet-lite0@64:gem"}
        for each in own.values():
            assert -math.log(10) - 0.05 < each.leep < 0
            assert -math.log(10) - 0.05 < each.nce < 0
            assert 0 < each.entropy < each.marginal < math.log(each.classes)

    def test_grey_images_are_warned_of_and_small_ones_where_the_input_is_larger(self, choice: tuple[Choice, Path]):
        assert any(said.startswith("Grey images: red, green and blue are equal in 100%") for said in choice[0].warnings)
        assert not any(said.startswith("Small images") for said in choice[0].warnings)

    def test_what_to_use_and_how(self, choice: tuple[Choice, Path]):
        found, folder = choice
        use = found.use
        assert found.sentence.startswith(f"Use {use.entry} at {use.layer}: macro-F1 {use.f1:.3f}")
        assert found.command.startswith(
            f"trunkline run --source {folder}/digits --store features/ --backbone efficientnet-lite0"
        )
        assert f"--size {use.size}" in found.command
        json.loads(json.dumps(found.summary()))

    def test_the_page_holds_it_all_and_fetches_nothing(self, choice: tuple[Choice, Path]):
        found, folder = choice
        text = (folder / "choose.html").read_text()
        page = Document(text)
        assert found.sentence in page.text("top")
        assert page.text("cuts").count("avg_pool") == 2
        assert "Grey images" in page.text("notes")
        assert "http" not in text.replace("http://www.w3.org", "").replace("http-equiv", "")

    def test_on_workers_the_scores_are_the_same(self, choice: tuple[Choice, Path]):
        first, folder = choice
        again = chosen(folder / "digits", NETWORK, "local", layers=["block10_add", "avg_pool"], split={"test_fraction": 1e-9})
        scores = {cut.layer: cut for cut in first.cuts if cut.entry == NETWORK}
        assert [cut.layer for cut in again.cuts if cut.is_default] == ["avg_pool"]
        for cut in again.cuts:
            assert cut.f1 == pytest.approx(scores[cut.layer].f1, abs=1e-6)
            assert cut.logme == pytest.approx(scores[cut.layer].logme, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layers", "message"),
    [(["avg_pol"], "has no layer 'avg_pol'. Did you mean avg_pool"), (["999"], "there is no 999")],
)
def test_layers_that_there_are_not(digits: Path, layers: list[str], message: str):
    with pytest.raises(BackboneError, match=message):
        chosen(digits, layers=layers)


def test_classes_that_lose_their_images_are_left_out_and_named(digits: Path):
    """Of four images of three classes the only second one of class b could not be read."""
    spec = RunSpec.model_validate({"source": str(digits), "store": "features/"})
    listed = [Listed(f"{label}/{number}.png", 1, "1") for number, label in enumerate("aabbcc")]
    drawn = Sample(listed, [0, 0, 1, 1, 2, 2], ["a", "b", "c"], 6, 6, 0, [])
    rows = np.array([[0.0], [1.0], [2.0], [4.0], [5.0]], np.float32)
    places = np.array([0, 1, 2, 4, 5])
    gathered = Gathered(places, [{"layer": rows}], np.zeros(5, bool), np.full(5, 32), {"missing": 1}, 0.001)
    kept, truth, small = truth_of(drawn, gathered, source_of(spec), spec)
    assert small == ["b"]
    assert (truth.labels.tolist(), truth.classes) == ([0, 0, 1, 1], 2)
    assert kept.vectors[0]["layer"].ravel().tolist() == [0.0, 1.0, 4.0, 5.0]
    with pytest.raises(DataError, match=r"and what could be read of .* has 1: a \(2\), b \(1\), c \(1\)"):
        truth_of(drawn, gathered.only(places < 5), source_of(spec), spec)
