"""The user's own networks: what the YAML beside them says, how they come from elsewhere, and what names their content."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backbones.onnx_nets import convolutional, save, with_data_file
from trunkline.backbones import own
from trunkline.backbones.backbone import Backbone, Normalisation
from trunkline.backbones.own import EXAMPLE, NORMALISATIONS, describe, digest, fetch, is_own
from trunkline.errors import BackboneError
from trunkline.locations import Location


@pytest.fixture
def bucket() -> Iterator[Location]:
    location = Location.of(f"memory://{uuid.uuid4().hex}")
    yield location
    location.remove()


def described(folder: Path, text: str | bytes, name: str = "net.onnx") -> Backbone:
    (folder / name).write_bytes(b"not opened")
    (folder / name).with_suffix(".yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return describe(str(folder / name))


@pytest.mark.parametrize(
    ("name", "whether"),
    [
        ("a.onnx", True),
        ("s3://b/A.ONNX", True),
        ("x.keras", True),
        ("x.H5", True),
        ("resnet50", False),
        ("x.pth", False),
        ("onnx", False),
    ],
)
def test_is_own(name, whether):
    assert is_own(name) is whether


def test_the_example_is_what_it_says(tmp_path):
    found = described(tmp_path, EXAMPLE)
    assert found == Backbone(name="net.onnx", family="own", size=224, normalisation=NORMALISATIONS["torch"], cut="")
    assert found.normalisation == Normalisation(mean=(123.675, 116.28, 103.53), deviation=(58.395, 57.12, 57.375))
    uncommented = EXAMPLE.replace("}", ", layer: avgpool}")
    assert described(tmp_path, uncommented, "Net_1.v2.KERAS").cut == "avgpool"


@pytest.mark.parametrize("word", NORMALISATIONS)
def test_words_for_normalisations(tmp_path, word):
    assert described(tmp_path, f"size: 32\nnormalisation: {word}\n").normalisation == NORMALISATIONS[word]


def test_a_normalisation_in_numbers(tmp_path):
    text = "size: 32\nnormalisation: {mean: [1, 2.5, 3], deviation: [4, 5, 6], channels: bgr}\nlayer: head\n"
    found = described(tmp_path, text)
    assert found.normalisation == Normalisation(mean=(1.0, 2.5, 3.0), deviation=(4.0, 5.0, 6.0), channels="bgr")
    assert found.cut == "head"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("normalisation: tf", r"net\.yaml: 'size' is missing"),
        ("size: 32", r"'normalisation' is missing; it has no default"),
        ("size: big\nnormalisation: tf", r"'size' is 'big': input should be a valid integer"),
        ("size: 8\nnormalisation: tf", r"'size' is 8: input should be greater than or equal to 16"),
        ("size: 32\nnormalisation: imagenet", r"'normalisation' is 'imagenet': must be torch, tf, caffe, none, or \{mean"),
        ("size: 32\nnormalisation: [1, 2]", r"'normalisation' is \[1, 2\]: must be torch"),
        (
            "size: 32\nnormalisation: tf\nlayers: a",
            r"unknown key 'layers'\. Did you mean layer\? The keys are size, normalisation, layer",
        ),
        ("size: 32\nnormalisation: {mean: [1, 2, 3]}", r"deviation' is missing"),
        ("size: 32\nnormalisation: {mean: [1, 2], deviation: [1, 1, 1]}", r"mean\.2' is missing|mean.* is \[1, 2\]"),
        ("size: 32\nnormalisation: {mean: [1, 2, .nan], deviation: [1, 1, 1]}", r"mean' is .*must be three finite numbers"),
        ("size: 32\nnormalisation: {mean: [1, 2, 3], deviation: [1, 0, 1]}", r"deviation' is .*must be above 0"),
        ("size: 32\nnormalisation: {mean: [1, 2, 3], deviation: [1, 1, 1], channels: rbg}", r"channels' is 'rbg'"),
        ("size: 32\nnormalisation: {mean: [1, 2, 3], std: [1, 1, 1]}", r"unknown key '(normalisation\.)?std'"),
        ("- size", r"holds no mapping of keys to values\. Write for example"),
        ("", r"holds no mapping of keys to values"),
        ("size: [", r"is not YAML: .*for example"),
        (b"size: \xff", r"is not YAML"),
        ("[" * 5000, r"is not YAML"),
        ("!!python/object/apply:os.system ['true']", r"is not YAML: could not determine a constructor"),
        ("a: &a [1]\nb: *a", r"holds YAML aliases"),
        ("# " + "x" * 70_000, r"has 70,002 bytes; a description has at most 65,536"),
    ],
)
def test_wrong_descriptions(tmp_path, text, words):
    with pytest.raises(BackboneError, match=words):
        described(tmp_path, text)


def test_a_missing_description_says_what_to_write(tmp_path):
    (tmp_path / "net.h5").write_bytes(b"")
    with pytest.raises(BackboneError, match=r"needs a YAML beside it .*Write .*net\.yaml, for example the line") as error:
        describe(str(tmp_path / "net.h5"))
    assert EXAMPLE in str(error.value)


def test_missing_networks(tmp_path, bucket):
    for uri in (tmp_path / "none.onnx", bucket / "none.onnx"):
        with pytest.raises(BackboneError, match=r"There is no network .*none\.onnx\. Check the path"):
            describe(str(uri))
    with pytest.raises(BackboneError, match=r"There is no network .*none\.onnx\. Check the path"):
        fetch(str(tmp_path / "none.onnx"), tmp_path)
    with pytest.raises(BackboneError, match=r"There is no .*none\.onnx\. The network cannot be read without it"):
        fetch(str(bucket / "none.onnx"), tmp_path)
    with pytest.raises(BackboneError, match=r"Cannot read .*none\.h5: No such file"):
        digest(tmp_path / "none.h5")


@pytest.mark.parametrize(
    "name", ["my net.onnx", "net;rm.onnx", "ünet.onnx", ".onnx", "-net.onnx", "a" * 100 + ".onnx", "net.pth"]
)
def test_names_that_could_not_stand_in_a_path(tmp_path, name):
    with pytest.raises(BackboneError, match=r"cannot name a backbone: .* Rename the file"):
        describe(str(tmp_path / name))


def test_a_local_network_stays_where_it_is(tmp_path):
    path = save(convolutional(), tmp_path)
    (tmp_path / "folder").mkdir()
    assert fetch(str(path), tmp_path / "folder") == path
    assert list((tmp_path / "folder").iterdir()) == []
    with pytest.raises(BackboneError, match=r"There is no network"):
        fetch(str(tmp_path / "folder"), tmp_path)


def test_a_remote_network_comes_with_its_data_files(tmp_path, bucket):
    path = with_data_file(convolutional(), tmp_path)
    for name in ("net.onnx", "net.onnx.data"):
        (bucket / name).write((tmp_path / name).read_bytes())
    (bucket / "net.yaml").write(b"size: 32\nnormalisation: none\n")
    assert describe(str(bucket / "net.onnx")).size == 32
    folder = tmp_path / "here"
    folder.mkdir()
    here = fetch(str(bucket / "net.onnx"), folder)
    assert {each.name for each in here.parent.iterdir()} == {"net.onnx", "net.onnx.data"}
    assert digest(here) == digest(path)
    assert fetch(str(bucket / "net.onnx"), folder) == here
    (bucket / "net.onnx").write(save(convolutional(), tmp_path, "other.onnx").read_bytes())
    changed = fetch(str(bucket / "net.onnx"), folder)
    assert changed != here  # what was fetched before stays as it was
    assert digest(here) == digest(path)
    assert sorted(folder.iterdir()) == sorted([here.parent, changed.parent])


def test_a_remote_network_cannot_name_files_elsewhere(tmp_path, bucket):
    path = with_data_file(convolutional(), tmp_path, "../secret")
    (bucket / "models/net.onnx").write(path.read_bytes())
    (bucket / "secret").write(b"secret")
    (tmp_path / "here").mkdir()
    with pytest.raises(BackboneError, match=r"says that its weights lie in '\.\./secret'"):
        fetch(str(bucket / "models/net.onnx"), tmp_path / "here")
    assert list((tmp_path / "here").iterdir()) == []


def test_a_remote_network_that_is_too_large(tmp_path, bucket, monkeypatch):
    monkeypatch.setattr(own, "MAX_BYTES", 1000)
    (bucket / "net.h5").write(b"x" * 1001)
    with pytest.raises(BackboneError, match=r"net\.h5 holds more than 0 GiB"):
        fetch(str(bucket / "net.h5"), tmp_path)


def test_the_digest_is_of_the_content(tmp_path):
    path = save(convolutional(), tmp_path)
    assert digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    renamed = path.rename(tmp_path / "other.onnx")
    assert digest(renamed) == hashlib.sha256(renamed.read_bytes()).hexdigest()


def test_the_digest_covers_data_files(tmp_path):
    path = with_data_file(convolutional(), tmp_path)
    before = digest(path)
    assert before != hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(before) == 64
    data = tmp_path / "net.onnx.data"
    content = bytearray(data.read_bytes())
    content[5] ^= 1
    data.write_bytes(content)
    assert digest(path) != before
