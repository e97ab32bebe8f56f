"""A feature set on disk: recipe, layout, arrays, commit records, moments, leases."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property

from pydantic import ValidationError

from trunkline.errors import StoreError
from trunkline.locations import Location
from trunkline.specs import Recipe
from trunkline.store.arrays import FeatureArrays, open_arrays
from trunkline.store.commits import Commits
from trunkline.store.layout import ArrayLayout

FORMAT_VERSION = 1


@dataclass(frozen=True)
class FeatureSet:
    """`features/<dataset>/<recipe-digest>/`; complete and readable on its own."""

    location: Location
    recipe: Recipe
    layout: ArrayLayout

    @classmethod
    def create(cls, location: Location, recipe: Recipe, layout: ArrayLayout) -> FeatureSet:
        """Open it, or make it with this layout where it is not there; an existing layout stays.

        Raises
        ------
        StoreError : it holds another recipe or another format, or the format does not go with the storage.
        """
        open_arrays(location, layout)
        if not (location / "layout.json").exists():
            (location / "recipe.json").write(json.dumps(recipe.model_dump(mode="json"), indent=2).encode())
            said = {"format_version": FORMAT_VERSION, **asdict(layout)}
            try:
                (location / "layout.json").create(json.dumps(said, indent=2).encode())
            except FileExistsError:
                pass  # another run was faster; its layout holds
        there = cls.open(location)
        if there.recipe != recipe:
            raise StoreError(
                f"{location} holds features of another recipe ({there.recipe.backbone}, digest {there.recipe.digest()}), not of "
                f"{recipe.backbone} ({recipe.digest()}): mixing them would make the features worthless. Use another --store."
            )
        if there.layout.format != layout.format:
            raise StoreError(
                f"{location} is stored as {there.layout.format}; the format is fixed when a feature set is created. "
                f"Use --format {there.layout.format}, or another --store for {layout.format}."
            )
        return there

    @classmethod
    def open(cls, location: Location) -> FeatureSet:
        """Raises StoreError where there is none, or where a newer trunkline wrote it."""
        try:
            recipe = Recipe.model_validate_json((location / "recipe.json").read())
            said = json.loads((location / "layout.json").read())
        except FileNotFoundError as error:
            raise StoreError(
                f"There is no feature set at {location}. `trunkline status STORE` lists those of a store."
            ) from error
        except (ValidationError, ValueError) as error:
            raise _foreign(location) from error
        if not isinstance(said, dict) or said.pop("format_version", None) != FORMAT_VERSION:
            raise StoreError(f"{location} was written by another version of trunkline. Update trunkline to read it.")
        if recipe.digest() != location.name:
            raise StoreError(
                f"{location} holds the recipe {recipe.digest()}: it was moved or edited, so its features cannot be trusted."
            )
        try:
            return cls(location, recipe, ArrayLayout.of(said))
        except (TypeError, ValueError, KeyError) as error:
            raise _foreign(location) from error

    @staticmethod
    def committed(location: Location) -> frozenset[str]:
        """Names of the committed shards of the feature set that lies there; none where there is no feature set yet."""
        return Commits(location / "commits", location / "sealed").done()

    @cached_property
    def arrays(self) -> FeatureArrays:
        return open_arrays(self.location, self.layout)

    @property
    def commits(self) -> Commits:
        return Commits(self.location / "commits", self.location / "sealed")

    @property
    def moments(self) -> Location:
        return self.location / "moments"

    @property
    def leases(self) -> Location:
        return self.location / "leases"


def _foreign(location: Location) -> StoreError:
    return StoreError(
        f"{location} is not a feature set that this trunkline can read: recipe.json or layout.json is foreign or newer."
    )
