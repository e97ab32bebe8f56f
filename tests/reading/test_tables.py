"""Arrow, pandas and xarray: features beside what is known of their rows."""

from __future__ import annotations

from pathlib import Path

import dask.array
import numpy as np
import pyarrow as pa
import pytest

from tests.reading.made import Made, ids
from trunkline import open_features


def test_arrow(fruit: Made):
    table = open_features(fruit.place).arrow(rows=[0, 2, 1024])
    assert table.schema.equals(
        pa.schema(
            {
                "row": pa.int64(),
                "id": pa.string(),
                "label": pa.string(),
                "split": pa.string(),
                "feature": pa.list_(pa.float32(), 6),
            }
        )
    )
    assert table.drop_columns("feature").to_pylist() == [
        {"row": 0, "id": "apple/0000.jpg", "label": "apple", "split": "train"},
        {"row": 2, "id": "apple/0002.jpg", "label": "apple", "split": "test"},
        {"row": 1024, "id": "fig/0000.jpg", "label": "fig", "split": "train"},
    ]
    np.testing.assert_array_equal(table["feature"].to_pylist(), fruit.values(table["row"].to_numpy()))
    assert open_features(fruit.place).arrow(ids=[]).num_rows == 0


def test_pandas(fruit: Made):
    frame = open_features(fruit.place).pandas(rows=[0, 2, 1024], layer="late")
    assert frame.columns.to_list() == ["id", "label", "split", "late_0", "late_1", "late_2"]
    assert (frame.index.name, frame.index.to_list()) == ("row", [0, 2, 1024])
    assert frame.loc[1024, ["id", "label", "split"]].to_list() == ["fig/0000.jpg", "fig", "train"]
    np.testing.assert_array_equal(frame.filter(like="late_"), fruit.values(frame.index.to_numpy(), "late"))
    assert set(frame.dtypes[3:]) == {np.dtype("float32")}
    few = open_features(fruit.place).pandas(columns=np.arange(6) > 3)
    assert few.columns.to_list()[3:] == ["pool_4", "pool_5"]


@pytest.mark.parametrize("lazily", [False, True])
def test_xarray(fruit: Made, lazily: bool):
    array = open_features(fruit.place).xarray("test", lazily=lazily)
    assert isinstance(array.data, dask.array.Array if lazily else np.ndarray)
    assert (array.name, array.dims) == ("pool", ("row", "feature"))
    assert array.attrs == {"feature_set": fruit.uri}
    figs = array.isel(row=array.label == "fig")
    assert figs.row.values.tolist() == list(range(1026, 1054, 3))
    assert figs.id.values[0] == "fig/0002.jpg"
    assert set(figs.split.values) == {"test"}
    assert array.feature.values.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(figs.sel(feature=[1, 2]).values, fruit.values(figs.row.values)[:, 1:3])


def test_kept_maps_have_their_shape(tmp_path: Path):
    made = Made(tmp_path / "store", {"maps": 12}, maps={"maps": (2, 3, 2)})
    made.scan(ids("plum", 100))
    made.extract(bad={9})
    features = open_features(made.place)
    rows = features.rows()
    maps = made.values(rows, "maps").reshape(-1, 2, 3, 2)
    np.testing.assert_array_equal(features.numpy()[0], maps)
    np.testing.assert_array_equal(features.dask().compute(scheduler="sync"), maps)
    array = features.xarray(lazily=True)
    assert array.dims == ("row", "height", "width", "channel")
    np.testing.assert_array_equal(array.sel(row=rows[5], channel=1), maps[5, :, :, 1])
    assert features.arrow().schema.field("feature").type == pa.list_(pa.float32(), 12)
    assert features.pandas().shape == (99, 3 + 12)
    assert [x.shape for _, x, _ in features.batches(50)] == [(50, 2, 3, 2), (49, 2, 3, 2)]
    assert features.numpy(columns=np.arange(12) < 5)[0].shape == (99, 5)
