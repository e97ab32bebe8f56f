"""The command that erases."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group

from trunkline.cli import show
from trunkline.cli.app import Json, StorePath, app, err, out
from trunkline.errors import SpecError
from trunkline.locations import Location
from trunkline.maintenance.purge import purge as erase_removed
from trunkline.store.feature_store import FeatureStore


@app.command(help="Erase removed images for good: features, names, digests, predictions, reports with their thumbnails.")
def purge(
    store: StorePath,
    dataset: Annotated[str | None, typer.Option(help="Of which dataset; needed where there are several.")] = None,
    image: Annotated[list[str] | None, typer.Option("--id", help="Only this image; may be given several times.")] = None,
    erase: Annotated[bool, typer.Option("--erase", help="Do it; without this it is only counted.")] = False,
    as_json: Json = False,
) -> None:
    if dataset is None:
        known = [each.name for each in FeatureStore.open(Location.of(store)).datasets()]
        if len(known) != 1:
            raise SpecError(f"Of which dataset? Give --dataset with one of: {', '.join(known) or 'none'}.")
        (dataset,) = known
    with show.progress_on(err) as progress:
        purged = erase_removed(store, dataset, image or (), erase, progress)
    facts = [("removed images", f"{purged.images:,} " + ("erased" if erase else "would be erased; --erase does it"))]
    if purged.erased:
        facts.append(("objects", f"{purged.rewritten:,} rewritten, {purged.deleted:,} deleted"))
    out(purged.summary(), as_json, Group(show.facts(purged.dataset, facts), *purged.notes))
