"""The feature store: the root, and where each thing lies under it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from trunkline.errors import SourceError, StoreError, did_you_mean
from trunkline.locations import Location
from trunkline.manifest import Manifest
from trunkline.sources import Source, bound, is_same
from trunkline.sources.columns import BOUND
from trunkline.specs import Recipe
from trunkline.store.feature_set import FORMAT_VERSION, FeatureSet
from trunkline.versions import Versions


@dataclass(frozen=True)
class Dataset:
    """One dataset of a store: what it is bound to, its manifest, labels and splits."""

    location: Location

    @property
    def name(self) -> str:
        return self.location.name

    @property
    def source(self) -> Source:
        """The bound source. Raises StoreError where the dataset was never scanned."""
        try:
            return bound(json.loads((self.location / "source.json").read()))
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"The dataset {self.name} in {self.location} was never scanned. Run `trunkline scan` first."
            ) from error

    def bind(self, source: Source) -> None:
        """Bind to a source for good; columns of labels and splits may change. Raises SourceError where it is bound to another."""
        said, place = source.said(), self.location / "source.json"
        try:
            place.create(_json(said))
        except FileExistsError:
            self.refuse_another(source)
            if self.source.said() != said:
                place.write(_json(said))

    def refuse_another(self, source: Source) -> None:
        """Raises SourceError where it is bound to another source; nothing is written."""
        if (self.location / "source.json").exists() and not is_same((known := self.source).said(), source.said()):
            raise SourceError(
                f"The dataset {self.name!r} belongs to {_in_words(known)}, not to {_in_words(source)}: its rows would be marked as "
                "removed. Give this source a name of its own with --dataset."
            )

    @property
    def manifest(self) -> Manifest:
        return Manifest.open(self.location / "manifest")

    @property
    def labels(self) -> Versions:
        return Versions(self.location / "labels", "label")

    @property
    def splits(self) -> Versions:
        return Versions(self.location / "splits", "split")


@dataclass(frozen=True)
class FeatureStore:
    """The root under which datasets, backbones, features, masks, heads, predictions and runs lie."""

    root: Location

    @classmethod
    def create(cls, root: Location) -> FeatureStore:
        """Open the store, or make it.

        Raises
        ------
        StoreError : the folder holds something else, or a newer store.
        StorageError : the storage cannot create objects exclusively.
        """
        if cls.existing(root) is None:
            root.refuse_unless_exclusive()
            try:
                (root / "store.json").create(json.dumps({"format": "trunkline", "version": FORMAT_VERSION}).encode())
            except FileExistsError:
                pass  # another run was faster
        return cls.open(root)

    @classmethod
    def existing(cls, root: Location) -> FeatureStore | None:
        """The store, None where one could be made; nothing is written. Raises StoreError as `create` does."""
        if (root / "store.json").exists():
            return cls.open(root)
        strangers = [name for name in root.names() if name != "store.json"]
        if strangers:
            raise StoreError(
                f"{root} is not a feature store and not empty (it holds {strangers[0]}). Give --store an empty or new folder."
            )
        return None

    @classmethod
    def open(cls, root: Location) -> FeatureStore:
        """Raises StoreError where there is none, or where a newer trunkline wrote it."""
        try:
            said = json.loads((root / "store.json").read())
        except FileNotFoundError as error:
            raise StoreError(
                f"There is no feature store at {root}. `trunkline run --source DIR --store {root}` makes one."
            ) from error
        except ValueError as error:
            raise StoreError(f"{root}/store.json is not JSON: this is not a feature store, or it is damaged.") from error
        if not isinstance(said, dict) or said.get("format") != "trunkline":
            raise StoreError(f"{root} is not a feature store of trunkline.")
        if said.get("version") != FORMAT_VERSION:
            raise StoreError(
                f"{root} has store format {said.get('version')}; this trunkline reads {FORMAT_VERSION}. Update trunkline."
            )
        return cls(root)

    def dataset(self, name: str) -> Dataset:
        return Dataset(self.root / f"datasets/{name}")

    def known_dataset(self, name: str) -> Dataset:
        """Raises StoreError where there is no such dataset, with those there are."""
        known = [each.name for each in self.datasets()]
        if name not in known:
            raise StoreError(
                f"{self.root} holds no dataset {name!r}.{did_you_mean(name, known)} It has: {', '.join(known) or 'none'}."
            )
        return self.dataset(name)

    def datasets(self) -> list[Dataset]:
        return [self.dataset(name) for name in (self.root / "datasets").names()]

    def feature_set_location(self, dataset: str, recipe: Recipe) -> Location:
        return self.root / f"features/{dataset}/{recipe.digest()}"

    def feature_sets(self, dataset: str) -> list[FeatureSet]:
        """The feature sets of a dataset, in order of their digests; one whose creation was interrupted is left out."""
        folder = self.root / f"features/{dataset}"
        return [FeatureSet.open(folder / name) for name in folder.names() if (folder / name / "layout.json").exists()]

    def beside(self, kind: str, features: FeatureSet) -> Location:
        """Where masks, heads or predictions of a feature set lie: `<kind>/<dataset>/<recipe-digest>`."""
        dataset, digest = features.location.uri.rsplit("/", 2)[-2:]
        return self.root / f"{kind}/{dataset}/{digest}"

    @property
    def runs(self) -> Location:
        return self.root / "runs"


def _json(said: dict[str, Any]) -> bytes:
    return json.dumps(said).encode()


def _in_words(source: Source) -> str:
    """What a dataset is bound to; a folder goes without saying."""
    said = source.said()
    columns = [f"{role} in column {said['columns'][role]!r}" for role in BOUND if said.get("columns", {}).get(role)]
    kind = [] if said["kind"] == "folder" else [f"kind {said['kind']}"]
    more = ", ".join([*kind, *columns])
    return f"{source.root} ({more})" if more else f"{source.root}"
