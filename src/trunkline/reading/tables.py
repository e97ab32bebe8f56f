"""Features as tables and labelled arrays: Arrow, pandas, xarray."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from trunkline.reading import lazy
from trunkline.reading.libraries import needed
from trunkline.reading.view import View

DIMENSIONS = {1: ("feature",), 3: ("height", "width", "channel")}


def arrow(view: View) -> pa.Table:
    """Row (int64), id, label, split and feature, a fixed-size list; kept maps lie flat in it."""
    x = view.flat()
    feature = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), x.shape[1])
    return view.snapshot.table(view.rows, ["row", "id", "label", "split"]).append_column("feature", feature)


def pandas(view: View) -> Any:
    """A frame with the row numbers as its index: id, label, split, and a column a feature, `<layer>_<number>`."""
    library = needed("pandas", "pandas", "pandas")
    x = view.flat()
    known = view.snapshot.table(view.rows, ["id", "label", "split"])
    names = [f"{view.reader.layer}_{number}" for number in view.numbers.tolist()]
    index = library.Index(view.rows, name="row")
    features = library.DataFrame(x, index=index, columns=names, copy=False)
    return library.concat([known.to_pandas().set_index(index), features], axis=1)


def xarray(view: View, lazily: bool) -> Any:
    """An array with dimensions row and feature (or row, height, width, channel), and coordinates row, id, label, split along the rows."""
    library = needed("xarray", "xarray", "xarray")
    known = view.snapshot.table(view.rows, ["id", "label", "split"])
    coordinates: dict[str, Any] = {name: ("row", known[name].to_numpy()) for name in known.column_names}
    dimensions = DIMENSIONS[len(view.inner)]
    if dimensions == ("feature",):
        coordinates["feature"] = view.numbers
    return library.DataArray(
        lazy.dask(view, "xarray") if lazily else view.features(),
        dims=("row", *dimensions),
        coords={"row": view.rows, **coordinates},
        name=view.reader.layer,
        attrs={"feature_set": view.reader.location.uri},
    )
