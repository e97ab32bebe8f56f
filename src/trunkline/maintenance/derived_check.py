"""What is made from features, checked: heads with their predictions, masks, the report's pointer, measured effects, the backbone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from trunkline import selection
from trunkline.backbones.compiled import committed_backbone
from trunkline.errors import CorruptStore, StorageError, StorageUnreachable, StoreError
from trunkline.heads import artifact
from trunkline.maintenance.findings import Finding, Severity
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import FeatureStore
from trunkline.tables import open_parquet

MADE_ANEW = "`trunkline verify STORE --repair` deletes it; the next `trunkline run` makes it anew"
NO_DAMAGE = (StorageError, StorageUnreachable, ImportError, MemoryError)  # what says nothing of the file


def check_derived(store: FeatureStore, features: FeatureSet) -> Iterator[Finding]:
    """Everything beside the arrays of one feature set."""
    yield from _heads(store, features)
    yield from _answers(store, features)
    yield from _masks(store, features)
    for what, name in (("report", "report.json"), ("effects", "effects.json"), ("curves", "curves.json")):
        place = features.location / name
        try:
            json.loads(place.read())
        except FileNotFoundError:
            continue
        except ValueError as error:
            yield Finding(what, place.uri, Severity.DERIVED, f"it is not JSON ({error})", MADE_ANEW)


def check_backbone(store: FeatureStore, features: FeatureSet, environments: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """The compiled backbones that shards were committed with, by (runtime, batch)."""
    for batch in sorted({batch for _, batch in environments}):
        try:
            backbone = committed_backbone(store.root, features.recipe, batch or None)
            for name in backbone.sha256:
                backbone.file(name)
        except (StoreError, CorruptStore) as error:
            advice = "once it is deleted, `trunkline extract` with the same spec compiles it again; nothing is extracted twice"
            yield Finding("backbone", (store.root / "backbones").uri, Severity.IRREPARABLE, str(error), advice)


def _heads(store: FeatureStore, features: FeatureSet) -> Iterator[Finding]:
    folder = store.beside("heads", features)
    for name in folder.names():
        if not (folder / name / "head.json").exists():
            continue  # never finished: an orphan
        try:
            head = artifact.load(folder / name)
            if head is not None:
                head.opened()
        except NO_DAMAGE:
            raise
        except Exception as error:  # a damaged file fails in any of its libraries' ways
            yield Finding("head", (folder / name).uri, Severity.DERIVED, f"it cannot be loaded ({error})", MADE_ANEW)
            continue
        place = store.beside("predictions", features) / f"{name}.parquet"
        try:
            artifact.load_predictions(place)
        except NO_DAMAGE:
            raise
        except Exception as error:
            yield Finding(
                "predictions", place.uri, Severity.DERIVED, f"they cannot be read ({error})", f"{MADE_ANEW}, with its head"
            )


def _answers(store: FeatureStore, features: FeatureSet) -> Iterator[Finding]:
    """What `trunkline predict` wrote, read to the end: a damaged page fails its checksum."""
    folder = store.beside("predictions", features)
    for head in (name for name in folder.names() if not name.endswith(".parquet")):
        for name in (folder / head).names():
            try:
                with open_parquet(folder / head / name) as file:
                    for _ in file.iter_batches():
                        pass
            except NO_DAMAGE:
                raise
            except Exception as error:
                advice = "`trunkline verify STORE --repair` deletes them; the next `trunkline predict` makes them anew"
                yield Finding("answers", (folder / head / name).uri, Severity.DERIVED, f"they cannot be read ({error})", advice)


def _masks(store: FeatureStore, features: FeatureSet) -> Iterator[Finding]:
    folder = store.beside("masks", features)
    for rule in folder.names():
        for name in (folder / rule).names():
            try:
                selection.load(folder / rule / name)
            except NO_DAMAGE:
                raise
            except Exception as error:
                advice = "restore it from a backup; or delete it, then `trunkline select --refit`, as a mask is never made anew unasked"
                yield Finding("mask", (folder / rule / name).uri, Severity.IRREPARABLE, str(error), advice)
