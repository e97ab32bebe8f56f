"""Streams: every row once a pass, in the same order for the same seed, with few shards in memory; NumPy, tf.data, PyTorch."""

from __future__ import annotations

import pickle
from itertools import chain, islice
from types import ModuleType

import numpy as np
import pytest

from tests.reading.made import Made, ids
from trunkline import Features, open_features
from trunkline.errors import DataError
from trunkline.reading import streams, view
from trunkline.reading.feature_reader import FeatureReader
from trunkline.reading.streams import Stream


@pytest.fixture(scope="module")
def plums(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """16 shards of 64 rows, half of them damsons; one row in a hundred is not there."""
    made = Made(tmp_path_factory.mktemp("plums") / "store")
    made.scan([*ids("plum", 500), *ids("damson", 500)])
    made.extract(bad=range(7, 1000, 100))
    return made


@pytest.fixture
def features(plums: Made) -> Features:
    return open_features(plums.place)


@pytest.fixture
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for three shards of 64 rows of 6 features."""
    monkeypatch.setattr(streams, "BUFFER_BYTES", 3 * 64 * 6 * 4)
    monkeypatch.setattr(view, "READ_AHEAD_BYTES", 3 * 64 * 6 * 4)


def rows_in(x: np.ndarray) -> list[int]:
    return x[:, 0].astype(int).tolist()


@pytest.mark.usefixtures("small_buffers")
@pytest.mark.parametrize("size", [1, 64, 100, 5000])
def test_numpy_batches(features: Features, plums: Made, size: int):
    found = list(features.batches(size))
    assert {len(rows) for rows, _, _ in found[:-1]} <= {size}
    rows = np.concatenate([rows for rows, _, _ in found])
    assert rows.tolist() == features.rows().tolist()
    np.testing.assert_array_equal(np.concatenate([x for _, x, _ in found]), plums.values(rows))
    assert np.concatenate([y for _, _, y in found]).tolist() == features.labels(rows).tolist()


@pytest.mark.usefixtures("small_buffers")
def test_a_few_shards_are_read_ahead_and_no_more(features: Features, monkeypatch: pytest.MonkeyPatch):
    read, asked = FeatureReader.read, []
    monkeypatch.setattr(FeatureReader, "read", lambda self, rows, *more: asked.append(len(rows)) or read(self, rows, *more))
    next(features.batches(10))
    assert sum(asked) <= 3 * 64
    asked.clear()
    next(Stream.of(features.view(), 10, shuffle=True).batches((0,)))
    assert sum(asked) <= 3 * 64


@pytest.mark.usefixtures("small_buffers")
def test_shuffling_gives_every_row_once_with_its_own_label(features: Features, plums: Made):
    stream = Stream.of(features.view(), 50, shuffle=True)
    found = list(stream.batches((1, 0)))
    assert [len(x) for x, _ in found] == [50] * 19 + [40]
    x, y = np.concatenate([x for x, _ in found]), np.concatenate([y for _, y in found])
    order = rows_in(x)
    assert sorted(order) == features.rows().tolist()
    np.testing.assert_array_equal(x, plums.values(np.array(order)))
    assert [features.classes[code] for code in y] == features.labels(np.array(order)).tolist()
    assert y.dtype == np.int64
    first = np.array(order[:150])
    assert len(set(first // 64)) > 2, "a batch mixes shards"
    assert first.max() - first.min() > 400, "shards come in random order"


def test_the_seed_decides_the_order(features: Features):
    stream = Stream.of(features.view(), 100, shuffle=True)
    first, again, other = (rows_in(next(stream.batches(seed))[0]) for seed in ((1, 0), (1, 0), (1, 1)))
    assert first == again != other


@pytest.mark.parametrize("shuffle", [False, True])
def test_parts_share_the_shards_out(features: Features, shuffle: bool):
    stream = pickle.loads(pickle.dumps(Stream.of(features.view(), 30, shuffle)))
    parts = [rows_in(np.concatenate([x for x, _ in stream.batches((4,), part, 3)])) for part in range(3)]
    assert sorted(chain.from_iterable(parts)) == features.rows().tolist()
    shards = [{row // 64 for row in part} for part in parts]
    assert not shards[0] & shards[1]
    assert not shards[1] & shards[2]
    few = Stream.of(features.view(rows=range(5)), 30, shuffle)
    assert [sum(len(x) for x, _ in few.batches((4,), part, 3)) for part in range(3)] == [5, 0, 0]


def test_rows_without_a_label_are_minus_one(writable: Made):
    writable.scan(["one.jpg"])
    writable.extract()
    ((_, y),) = Stream.of(open_features(writable.place).view(batch=1), 8, shuffle=False).batches(())
    assert y.tolist() == [-1]


def test_a_batch_of_nothing_is_refused(features: Features):
    for asked in (
        lambda: next(features.batches(0)),
        lambda: features.tf_data(batch_size=0),
        lambda: features.torch(batch_size=-1),
    ):
        with pytest.raises(DataError, match=r"A batch of (0|-1) rows holds nothing"):
            asked()


@pytest.mark.usefixtures("tensorflow")
def test_tf_data(features: Features, plums: Made):
    dataset = features.tf_data("train", batch_size=100)
    assert dataset.class_names == ["damson", "plum"]
    assert int(dataset.cardinality()) == len(list(dataset)) == 7
    assert [tuple(each.shape) for each in dataset.element_spec] == [(None, 6), (None,)]
    x = np.concatenate([x.numpy() for x, _ in dataset])
    np.testing.assert_array_equal(x, plums.values(features.rows("train")))
    codes = np.concatenate([y.numpy() for _, y in dataset])
    assert [dataset.class_names[code] for code in codes] == features.labels(features.rows("train")).tolist()


def test_tf_data_has_another_order_in_each_pass(features: Features, tensorflow: ModuleType):
    def passes(dataset: object) -> list[list[int]]:
        return [rows_in(np.concatenate([x.numpy() for x, _ in dataset])) for _ in range(2)]

    first, second = passes(features.tf_data(batch_size=100, shuffle=True, seed=3))
    assert first != second
    assert sorted(first) == sorted(second) == features.rows().tolist()
    assert passes(features.tf_data(batch_size=100, shuffle=True, seed=3)) == [first, second]
    both = features.tf_data(batch_size=100, shuffle=True, seed=3, epochs=2)
    assert int(both.cardinality()) == 20
    assert rows_in(np.concatenate([x.numpy() for x, _ in both])) == first + second
    endless = features.tf_data(batch_size=990, epochs=None)
    assert int(endless.cardinality()) == tensorflow.data.INFINITE_CARDINALITY
    assert [len(x) for x, _ in islice(endless, 3)] == [990] * 3


def test_keras_fits_on_it(features: Features, tensorflow: ModuleType):
    keras = tensorflow.keras
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(features.tf_data("train", shuffle=True), epochs=2, shuffle=False, verbose=0)
    assert len(history.history["loss"]) == 2


def test_passes_below_one_are_refused(features: Features):
    with pytest.raises(DataError, match=r"epochs=0 gives no data; give 1 or more, or None"):
        features.tf_data(epochs=0)


@pytest.mark.parametrize("workers", [0, 2])
def test_torch(features: Features, plums: Made, workers: int):
    data = pytest.importorskip("torch.utils.data")
    dataset = features.torch("train", batch_size=50, shuffle=True, seed=5)
    assert dataset.class_names == ["damson", "plum"]
    assert isinstance(dataset, data.IterableDataset)

    def order(epoch: int) -> list[int]:
        dataset.set_epoch(epoch)
        loader = data.DataLoader(dataset, batch_size=None, num_workers=workers)
        batches = [(x.numpy(), y.numpy()) for x, y in loader]
        rows = rows_in(np.concatenate([x for x, _ in batches]))
        np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), plums.values(np.array(rows)))
        codes = np.concatenate([y for _, y in batches])
        assert [dataset.class_names[code] for code in codes] == features.labels(np.array(rows)).tolist()
        return rows

    first, second = order(0), order(1)
    assert sorted(first) == sorted(second) == features.rows("train").tolist()
    assert first != second
    assert order(0) == first


@pytest.mark.parametrize("workers", [0, 2])
def test_torch_without_a_seed_follows_its_own(features: Features, workers: int):
    torch = pytest.importorskip("torch")
    dataset = pickle.loads(pickle.dumps(features.torch(shuffle=True)))
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=workers)

    def order() -> list[int]:
        return rows_in(np.concatenate([x.numpy() for x, _ in loader]))

    torch.manual_seed(1)
    first, second = order(), order()
    torch.manual_seed(1)
    assert sorted(first) == sorted(second) == features.rows().tolist()
    assert first != second
    assert order() == first
