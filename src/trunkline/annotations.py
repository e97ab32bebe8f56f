"""Labels and splits of a scan: from folders or from what the source itself tells, as new versions of what has changed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trunkline.comparison import Told
from trunkline.manifest import NONE, Manifest
from trunkline.sources import Layout
from trunkline.specs import SplitSpec
from trunkline.store.feature_store import Dataset
from trunkline.versions import NO_VALUE, Values, Versions


def annotate(dataset: Dataset, manifest: Manifest, layout: Layout, spec: SplitSpec, told: Told | None) -> bool:
    """Write the labels and splits of live rows that differ from the stored ones; whether any did.

    A split that folders or the hash gave stays once assigned, also through a rename; one that the source tells may change.
    """
    live = manifest.live()
    labels, splits = dataset.labels.values(manifest.rows), dataset.splits.values(manifest.rows)
    if told is not None:
        relabelled = _append_told(dataset.labels, labels, told.rows, told.labels)
        resplit = _append_told(dataset.splits, splits, told.rows, told.splits, keep=True)
        splits = dataset.splits.values(manifest.rows) if resplit else splits
    else:
        relabelled, resplit = _append_folders(dataset.labels, labels, manifest, live, layout), False
    assigned = _assign(dataset.splits, splits, manifest, live, layout, spec)
    return relabelled or resplit or assigned


def folder_labels(ids: pa.Array, layout: Layout) -> pa.Array:
    """`layout.label` of every id at once; null where its folders give none."""
    if not layout.labelled:
        return pa.nulls(len(ids), pa.string())
    above = "[^/]*/" if layout.split_folders else ""
    return pc.struct_field(pc.extract_regex(ids, f"^{above}(?P<label>[^/]*)/"), "label")


def _append_folders(stored: Versions, values: Values, manifest: Manifest, live: NDArray[np.bool_], layout: Layout) -> bool:
    if not layout.labelled:
        return False
    rows, names = [np.empty(0, np.int64)], [pa.array([], pa.string())]
    for table in manifest.chunks(("row", "id")):
        here, found = table["row"].to_numpy(), folder_labels(table["id"].combine_chunks(), layout)
        changed = live[here] & _differs(values, here, found) & found.is_valid().to_numpy(zero_copy_only=False)
        rows.append(here[changed])
        names.append(found.filter(pa.array(changed)))
    return stored.append(np.concatenate(rows), pa.concat_arrays(names))


def _append_told(
    stored: Versions,
    values: Values,
    rows: Sequence[NDArray[np.int64]],
    told: Sequence[Sequence[str | None]],
    keep: bool = False,
) -> bool:
    """Where the source says nothing at all, or `keep` is set, a row of which it says nothing keeps what it has."""
    keep = keep or not any(value is not None for said in told for value in said)
    changed_rows, changed = [np.empty(0, np.int64)], [pa.array([], pa.string())]
    for here, said in zip(rows, told, strict=True):
        found = pa.array(said, pa.string())
        differs = _differs(values, here, found)
        if keep:
            differs &= found.is_valid().to_numpy(zero_copy_only=False)
        changed_rows.append(here[differs])
        changed.append(found.filter(pa.array(differs)))
    return stored.append(np.concatenate(changed_rows), pa.concat_arrays(changed))


def _differs(values: Values, rows: NDArray[np.int64], found: pa.Array) -> NDArray[np.bool_]:
    """Where the found values are not the stored ones."""
    encoded = found.dictionary_encode()
    codes = np.array([*(values.code(name) for name in encoded.dictionary.to_pylist()), NO_VALUE], np.int32)
    now: NDArray[np.int32] = codes[encoded.indices.fill_null(len(codes) - 1).to_numpy(zero_copy_only=False)]
    differs: NDArray[np.bool_] = now != values.codes[rows]
    return differs


def _assign(
    stored: Versions,
    values: Values,
    manifest: Manifest,
    live: NDArray[np.bool_],
    layout: Layout,
    spec: SplitSpec,
) -> bool:
    """Give each live row without a split one: its predecessor's where the image was renamed, else its folder's or the hash's."""
    missing = np.flatnonzero(live & (values.codes == NO_VALUE))
    if not len(missing):
        return False
    assigned = [pa.array([], pa.string()).dictionary_encode()]
    for table in manifest.chunks(("row", "id")):
        rows = table["row"].to_numpy()
        wanted = np.isin(rows, missing[slice(*np.searchsorted(missing, (rows[0], rows[-1] + 1)))], assume_unique=True)
        inherited = _inherited(values, manifest, layout, rows[wanted])
        ids = table["id"].filter(pa.array(wanted)).to_pylist()
        names = [values.names[code] if code >= 0 else layout.split(id_, spec) for code, id_ in zip(inherited, ids, strict=True)]
        assigned.append(pa.array(names, pa.string()).dictionary_encode())
    return stored.append(missing, pa.chunked_array(assigned).unify_dictionaries())


def _inherited(values: Values, manifest: Manifest, layout: Layout, rows: NDArray[np.int64]) -> list[int]:
    """The codes of the rows that these take the place of, −1 where there is none; not where folders name the split."""
    earlier = np.full(len(rows), NONE) if layout.split_folders else manifest.predecessors(rows)
    codes: list[int] = np.where(earlier == NONE, NO_VALUE, values.codes[earlier]).tolist()
    return codes
