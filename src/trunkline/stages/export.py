"""Export: the features of a feature set as one plain file, for tools that know nothing of the store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from trunkline import selection
from trunkline.errors import CorruptStore, DataError, SpecError, StoreError, did_you_mean
from trunkline.exporting.content import Content, Kept
from trunkline.exporting.formats import SUFFIXES, WRITERS
from trunkline.exporting.placing import placed, refuse_what_does_not_fit, refuse_wrong_place
from trunkline.locations import Location
from trunkline.progress import Progress, Step, silent
from trunkline.reader import Features, open_features
from trunkline.store.feature_store import FeatureStore

ROW_BYTES = 256  # of the index, roughly; only for the room that is asked for


@dataclass(frozen=True)
class ExportReceipt:
    """What was written. `index` is the file beside an .npy, '' otherwise; `mask` a digest, '' where all columns were written."""

    out: str
    index: str
    format: str
    feature_set: str
    layer: str
    split: str
    mask: str
    shape: Sequence[int]
    dtype: str
    bytes: int
    seconds: float


def export(
    uri: str,
    out: str,
    format: str | None = None,
    *,
    split: str | None = None,
    layer: str | None = None,
    masked: bool = False,
    rule: str | None = None,
    dataset: str | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> ExportReceipt:
    """Write the live rows that have features to one file.

    Parameters
    ----------
    uri : a feature set, or a store that holds one (of `dataset`, where that is given).
    out : the file, a path or any fsspec URL.
    format : `hdf5`, `parquet` or `npy`; from the suffix of `out` by default.
    split, layer : all rows and the first layer by default.
    masked : only the columns that the pinned mask keeps; of this `rule` where there are masks of several.
    overwrite : replace what lies at `out`.

    Raises
    ------
    StoreError : no feature set there, or several.
    DataError : no rows, an unknown split or layer, no mask or several.
    SpecError : `out` exists, its folder does not, or nobody can tell its format.
    StorageError : it does not fit onto the disk.
    """
    started = time.monotonic()
    format = _format(out, format)
    place = Location.of(out)
    places = [place, _beside(place)] if format == "npy" else [place]
    features = _opened(uri, dataset)
    root = Location(features.uri.rsplit("/", 3)[0])
    refuse_wrong_place(places, root, overwrite)
    content = Content(features, split, layer, _kept(features, root, layer, rule) if masked or rule else None)
    refuse_what_does_not_fit(place, content.bytes + ROW_BYTES * len(content.rows))
    progress(Step("export", 0, len(content.rows)))
    with placed(places) as paths:
        WRITERS[format](paths, content, lambda done: progress(Step("export", done, len(content.rows))))
        size = sum(path.stat().st_size for path in paths)
    return ExportReceipt(
        out=place.uri,
        index=places[1].uri if len(places) > 1 else "",
        format=format,
        feature_set=features.uri,
        layer=content.layer,
        split=split or "",
        mask=content.said["mask"],
        shape=content.shape,
        dtype=content.dtype.name,
        bytes=size,
        seconds=time.monotonic() - started,
    )


def _format(out: str, asked: str | None) -> str:
    if asked is None:
        suffix = "." + out.rsplit("/", 1)[-1].rpartition(".")[2]
        if suffix.lower() not in SUFFIXES:
            raise SpecError(
                f"What format is {out}? Its suffix is none of {', '.join(SUFFIXES)}: give --format {', '.join(WRITERS)}."
            )
        return SUFFIXES[suffix.lower()]
    if asked not in WRITERS:
        raise SpecError(f"There is no format {asked!r}.{did_you_mean(asked, WRITERS)} There are: {', '.join(WRITERS)}.")
    return asked


def _beside(place: Location) -> Location:
    """`features.npy` → `features.index.parquet`."""
    return Location(place.uri.removesuffix(".npy") + ".index.parquet")


def _opened(uri: str, dataset: str | None) -> Features:
    if dataset is None:
        return open_features(uri)
    store = FeatureStore.open(Location.of(uri))
    known = [each.name for each in store.datasets()]
    if dataset not in known:
        raise StoreError(
            f"{store.root} holds no dataset {dataset!r}.{did_you_mean(dataset, known)} It has: {', '.join(known)}."
        )
    found = store.feature_sets(dataset)
    if len(found) != 1:
        listed = "; ".join(each.location.uri for each in found) or "none"
        raise StoreError(f"{dataset} has {len(found)} feature sets: {listed}. Export one of them by its own URI.")
    return Features(found[0])


def _kept(features: Features, root: Location, layer: str | None, rule: str | None) -> Kept:
    """The columns that the pinned mask keeps of a layer."""
    folder = FeatureStore(root).beside("masks", features.feature_set)
    rules = folder.names()
    if not rules:
        raise DataError(f"{features.uri} has no mask yet. Run `trunkline select` first, or export all columns.")
    if rule is not None and rule not in rules:
        raise DataError(
            f"{features.uri} has no mask of the rule {rule!r}.{did_you_mean(rule, rules)} It has: {', '.join(rules)}."
        )
    if rule is None and len(rules) > 1:
        raise DataError(f"{features.uri} has masks of {len(rules)} rules: name one of them by --rule: {', '.join(rules)}.")
    mask = selection.load_latest(folder / (rule or rules[0]))
    layer = layer if layer is not None else next(iter(features.layers))
    if layer not in features.layers:
        raise DataError(
            f"There is no layer {layer!r}.{did_you_mean(layer, features.layers)} There are: {', '.join(features.layers)}."
        )
    if mask is None or layer not in mask.layers or len(mask.layers[layer].kept) != features.layers[layer]:
        raise CorruptStore(f"The mask under {folder} does not fit {features.uri}. Fit it anew: `trunkline select --refit`.")
    return Kept(mask.layers[layer].kept, mask.digest)
