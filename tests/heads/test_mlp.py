"""The MLP: Keras's own file, computed without Keras; streamed; stopped; and the process that fits it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import h5py
import numpy as np
import pytest

from tests.heads.made import CLASSES, DIGITS, LABELS, PIXELS, TRAINING, VALUE, Memory, data_of
from trunkline.errors import CorruptStore, DataError, RunError
from trunkline.fan_out import SerialExecutor
from trunkline.heads import mlp_process
from trunkline.heads.held_out import scores_of
from trunkline.heads.mlp import FILE, Mlp, fit_mlp
from trunkline.heads.protocol import Work
from trunkline.heads.targets import Target
from trunkline.specs import MlpSpec

HERE = SerialExecutor(threads=1)
QUICK = {"widths": [16, 8], "learning_rate": 0.01, "batch": 32, "epochs": 4}


@cache
def head_of(kind: str) -> Mlp:
    target = {"classes": CLASSES, "multilabel": LABELS, "regression": VALUE}[kind]
    return fit_mlp(MlpSpec(**QUICK), data_of(target), Work(HERE))


@pytest.mark.usefixtures("tensorflow")
@pytest.mark.parametrize("kind", ["classes", "multilabel", "regression"])
def test_keras_reads_the_file_and_gives_the_same(kind, tmp_path):
    """Up to its float32: of values, relative to their size."""
    import keras

    path = tmp_path / FILE
    path.write_bytes(head_of(kind).files()[FILE])
    model = keras.models.load_model(path, safe_mode=True)
    mine, theirs = head_of(kind).outputs(PIXELS), model.predict(PIXELS, verbose=0)
    np.testing.assert_allclose(mine, theirs, rtol=1e-5 if kind == "regression" else 0, atol=5e-6)
    assert [layer.name for layer in model.layers] == ["standard", "hidden_1", "hidden_2", "outputs"]


def test_it_stops_when_the_held_out_loss_grows_and_keeps_the_best_epoch():
    steps = []
    spec = MlpSpec(widths=[64], learning_rate=0.03, batch=16, epochs=60, patience=2)
    head = fit_mlp(spec, data_of(), Work(HERE, progress=steps.append))
    best, ran = map(int, head.chosen["epochs"].split(" of "))
    assert best == ran - 2 < 58
    assert [step.done for step in steps] == list(range(1, ran + 1))
    losses = [float(step.note.rsplit(" ", 1)[1]) for step in steps]
    assert np.argmin(losses) == best - 1
    assert head.chosen["held-out loss"] == f"{min(losses):.4g}"


def test_rows_beyond_memory_are_streamed_and_it_is_said():
    head = fit_mlp(MlpSpec(**QUICK), data_of(), Work(HERE, memory=100 * 64 * 4))
    (note,) = head.notes
    assert note.startswith("The MLP was fitted on rows streamed from the store")
    assert scores_of(CLASSES, DIGITS[TRAINING:], head.outputs(PIXELS[TRAINING:])).score > 0.5


def test_a_fit_that_diverges_is_said_and_loses_a_sweep():
    spec = MlpSpec(**QUICK | {"learning_rate": 1e30})
    with pytest.raises(DataError, match=r"diverged in epoch 1 with a learning rate of 1e\+30.*Lower head\.learning_rate"):
        fit_mlp(spec, data_of(), Work(HERE))
    swept = fit_mlp(MlpSpec(**QUICK | {"learning_rate": [1e30, 0.01], "folds": 2}), data_of(), Work(HERE))
    assert swept.chosen["learning rate"] == "0.01"
    assert swept.candidates[0].score == 0


def test_several_fits_share_one_process_which_ends_when_it_is_idle(monkeypatch):
    mlp_process.end()
    monkeypatch.setattr(mlp_process, "IDLE_SECONDS", 1.0)
    data = data_of(rows=np.arange(40))
    first = fit_mlp(MlpSpec(**QUICK), data, Work(HERE))
    (running,) = mlp_process._running
    fit_mlp(MlpSpec(**QUICK), data, Work(HERE, seed=1))
    assert mlp_process._running == [running]
    assert running._process.wait(timeout=60) == 0
    again = fit_mlp(MlpSpec(**QUICK), data, Work(HERE))
    assert mlp_process._running != [running]
    np.testing.assert_array_equal(again.outputs(PIXELS), first.outputs(PIXELS))  # whatever was fitted before in the process


class Dying(Memory):
    """Ends any process but the one that made it."""

    def __init__(self, x: np.ndarray) -> None:
        super().__init__(x)
        self.home = os.getpid()

    def read(self, rows, columns=None):
        if os.getpid() != self.home:
            os.write(2, b"no memory left\n")
            os._exit(3)
        return super().read(rows, columns)


def test_a_process_that_dies_is_said_with_its_last_words():
    data = replace(data_of(rows=np.arange(40)), reader=Dying(PIXELS))
    with pytest.raises(RunError, match=r"(?s)ended with status 3: .*no memory left"):
        fit_mlp(MlpSpec(**QUICK), data, Work(HERE))
    assert mlp_process._running == []


def test_tensorflow_stays_out_of_the_process_that_asks():
    code = (
        "import sys, numpy as np; from tests.heads.made import *; from trunkline.heads.mlp import *; "
        "fit_mlp(MlpSpec(epochs=1), data_of(rows=np.arange(30)), Work(SerialExecutor(threads=1))); "
        "sys.stdout.write(' '.join(name for name in ('tensorflow', 'keras') if name in sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=200)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr


def with_weights(change: Callable[[h5py.File], None]) -> dict[str, bytes]:
    """The file of a head, its weights changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(head_of("classes").files()[FILE])) as there, zipfile.ZipFile(out, "w") as archive:
        for name in there.namelist():
            content = there.read(name)
            if name.endswith(".h5"):
                buffer = io.BytesIO(content)
                with h5py.File(buffer, "r+") as file:
                    change(file)
                content = buffer.getvalue()
            archive.writestr(name, content)
    return {FILE: out.getvalue()}


KERNEL = "layers/dense/vars/0"


def replaced(make: Callable[[h5py.File], None]) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[KERNEL]
        make(file)

    return change


def linked(file):
    file[KERNEL] = h5py.ExternalLink("/etc/passwd", "/x")


def softly_linked(file):
    file[KERNEL] = h5py.SoftLink("/layers/dense_1/vars/0")


def virtual(file):
    layout = h5py.VirtualLayout((64, 16), np.float32)
    layout[:] = h5py.VirtualSource("/nowhere.h5", "x", (64, 16))
    file.create_virtual_dataset(KERNEL, layout)


def elsewhere(file):
    file.create_dataset(KERNEL, (64, 16), np.float32, external=[("/etc/hostname", 0, 4096)])


def packed(file):
    file.create_dataset(KERNEL, (64, 16), np.float32, data=np.zeros((64, 16)), compression="gzip")


def unwritten(file):
    file.create_dataset(KERNEL, (10**9, 16), np.float32)


def words(file):
    file[KERNEL] = np.array([b"code"])


def missing(_):
    pass


def other_shape(file):
    file[KERNEL] = np.zeros((64, 15), np.float32)


def no_numbers(file):
    file[KERNEL] = np.full((64, 16), np.nan, np.float32)


@pytest.mark.parametrize(
    ("make", "words_of_it"),
    [
        (linked, "is missing, or a link"),
        (softly_linked, "is missing, or a link"),
        (missing, "is missing, or a link"),
        (virtual, "holds no plain float32 numbers"),
        (elsewhere, "holds no plain float32 numbers"),
        (words, "holds no plain float32 numbers"),
        (packed, "says it has 4,096 bytes"),
        (unwritten, "says it has 64,000,000,000 bytes, and 0 are stored"),
        (other_shape, r"a layer of \(64, 15\) after one of 64"),
        (no_numbers, "weights that are infinite or no numbers"),
    ],
)
def test_weights_that_are_no_plain_numbers_are_refused(make, words_of_it):
    with pytest.raises(CorruptStore, match=rf"mlp\.keras of the saved head is damaged, or no network of ours.*{words_of_it}"):
        Mlp.load(with_weights(replaced(make)), CLASSES)


def test_a_negative_variance_is_refused():
    def change(file: h5py.File) -> None:
        file["layers/normalization/vars/1"][3] = -1

    with pytest.raises(CorruptStore, match="mean and deviation that do not fit together"):
        Mlp.load(with_weights(change), CLASSES)


def test_a_network_of_other_outputs_is_refused():
    with pytest.raises(CorruptStore, match="10 outputs, where 2 are due"):
        Mlp.load(head_of("classes").files(), Target("classes", ("a", "b")))


def test_members_that_a_network_of_ours_lacks_are_refused():
    out = io.BytesIO(head_of("classes").files()[FILE])
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("code.py", "1/0")
    with pytest.raises(CorruptStore, match=r"it holds code\.py, config\.json"):
        Mlp.load({FILE: out.getvalue()}, CLASSES)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            archive.writestr(name, bytes(1 << 20))
    with pytest.raises(CorruptStore, match="its members say they are larger than the file"):
        Mlp.load({FILE: packed.getvalue()}, CLASSES)
