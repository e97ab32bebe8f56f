from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from tests.finetuning.test_history import epoch
from trunkline.errors import CorruptStore, StorageError
from trunkline.finetuning.checkpoints import Checkpoint, Checkpoints
from trunkline.locations import Location


def checkpoints(folder: Path) -> Checkpoints:
    return Checkpoints(Location.of(folder / "layers"), "layers")


def written(folder: Path, *scores: float) -> Checkpoints:
    """One a score; the array holds the epoch's number."""
    places, history = checkpoints(folder), [epoch(1, 0.2, "head")]
    for number, score in enumerate(scores, 1):
        history.append(epoch(number, score))
        places.write(Checkpoint(history, {"weights/0000": np.full(3, number, np.float32), "optimizer/0000": np.array(number)}))
    return places


def test_the_last_comes_back_as_it_was_written(tmp_path):
    found = written(tmp_path, 0.5, 0.4).last()
    assert found is not None
    assert [each.val_macro_f1 for each in found.history] == [0.2, 0.5, 0.4]
    np.testing.assert_array_equal(found.arrays["weights/0000"], np.full(3, 2, np.float32))
    assert found.arrays["optimizer/0000"].dtype == np.int64
    assert found.arrays["optimizer/0000"].shape == ()


def test_only_the_last_and_the_best_are_kept(tmp_path):
    written(tmp_path, 0.5, 0.9, 0.4, 0.3)
    assert sorted(path.name for path in (tmp_path / "layers").iterdir()) == [
        *("epoch-0002.json", "epoch-0002.safetensors", "epoch-0004.json", "epoch-0004.safetensors")
    ]


def test_none_is_none(tmp_path):
    assert checkpoints(tmp_path).last() is None


def test_a_damaged_one_is_passed_over(tmp_path, caplog):
    places = written(tmp_path, 0.9, 0.4)
    arrays = tmp_path / "layers/epoch-0002.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:-1] + b"\0")
    found = places.last()
    assert found is not None
    assert found.epoch == 1
    assert "epoch-0002.json is damaged (its digest is another). It is passed over" in caplog.text


def test_one_whose_best_is_gone_is_passed_over_too(tmp_path):
    places = written(tmp_path, 0.9, 0.4)
    (tmp_path / "layers/epoch-0001.safetensors").unlink()
    assert places.last() is None


def test_reading_a_damaged_record(tmp_path):
    places = written(tmp_path, 0.9)
    (tmp_path / "layers/epoch-0001.json").write_text("[]")
    with pytest.raises(CorruptStore, match=r"The checkpoint .*epoch-0001.json is damaged"):
        places.read(1)


def test_arrays_without_a_record_are_no_checkpoint(tmp_path):
    places = written(tmp_path, 0.9)
    (tmp_path / "layers/epoch-0002.safetensors").write_bytes(b"half")
    found = places.last()
    assert found is not None
    assert found.epoch == 1
    written(tmp_path, 0.9, 0.95)
    assert sorted(path.name for path in (tmp_path / "layers").iterdir()) == ["epoch-0002.json", "epoch-0002.safetensors"]


def test_no_room_is_said_and_the_one_before_stays(tmp_path, monkeypatch):
    places = written(tmp_path, 0.5)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(StorageError, match="The disk is full: free some space, then start the same command again"):
            places.write(Checkpoint([epoch(1, 0.5), epoch(2, 0.6)], {"weights/0000": np.zeros(3)}))
    found = places.last()
    assert found is not None
    assert found.epoch == 1
