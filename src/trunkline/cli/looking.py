"""`trunkline look` and `trunkline similar`: pictures of what a network sees, and of what it holds for alike."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Group

from trunkline.cli import show
from trunkline.cli.app import Json, app, err, out
from trunkline.stages import look as looking
from trunkline.stages import similar as searching

SHOWN = 10
FROM_A_STORE = "From a store"
NO_STORE = "Without a store"
Image = Annotated[
    str, typer.Argument(metavar="IMAGE", help="A path or any URL; with a store also row:N, or an id of its dataset.")
]


@app.command(
    help="Draw what a network makes of an image: the activation maps of some layers, and, for a fitted head of a store, what in the image "
    "speaks for its answer.",
    short_help="What a network makes of an image, layer by layer, as one picture.",
)
def look(
    image: Image,
    backbone: Annotated[
        str | None, typer.Option(help="A name that `trunkline backbones` lists, or your own file; the store's by default.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="A weights file, or random.")] = None,
    layer: Annotated[
        list[str] | None, typer.Option(help="Name or number, repeatable; the ends of the network's stages by default.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="A feature set, or a store that holds one.", rich_help_panel=FROM_A_STORE)
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Of this dataset of the store.", rich_help_panel=FROM_A_STORE)] = None,
    head: Annotated[
        str | None, typer.Option(help="Kind or digest; the only one by default.", rich_help_panel=FROM_A_STORE)
    ] = None,
    preset: Annotated[str | None, typer.Option(help="trunkline or keras.", rich_help_panel=NO_STORE)] = None,
    size: Annotated[int | None, typer.Option(help="Side of the network's input.", rich_help_panel=NO_STORE)] = None,
    fit: Annotated[str | None, typer.Option(help="crop, stretch or pad.", rich_help_panel=NO_STORE)] = None,
    target: Annotated[str, typer.Option("--out", help="The PNG to write.")] = "look.png",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out where it exists.")] = False,
    as_json: Json = False,
) -> None:
    given = {"preset": preset, "size": size, "fit": fit}
    with show.progress_on(err) as progress:
        found = looking.look(
            image,
            target,
            backbone=backbone,
            weights=weights,
            layers=tuple(layer or ()),
            preparation={name: value for name, value in given.items() if value is not None},
            store=store,
            dataset=dataset,
            head=head,
            overwrite=overwrite,
            progress=progress,
        )
    facts = [
        ("image", found.image + (f", row {found.row:,}" if found.row is not None else "")),
        *([("true class", found.label)] if found.label is not None else []),
        *([("predicted", ", ".join(map(_answer, found.answers)))] if found.answers else []),
        *([("head", f"{found.head}, by {found.evidence}")] if found.head else []),
        ("backbone", found.backbone),
        *((name, " x ".join(f"{side:,}" for side in shape)) for name, shape in found.layers.items()),
    ]
    out(asdict(found), as_json, show.facts(found.out, facts))


@app.command(
    help="Find the images of a store that are nearest to one by their features, by exact search, and write a page of thumbnails.",
    short_help="The nearest images by features, as a page of thumbnails.",
)
def similar(
    image: Image,
    store: Annotated[str, typer.Option(help="A feature set, or a store that holds one.")],
    k: Annotated[int, typer.Option(help="How many.")] = 20,
    split: Annotated[list[str] | None, typer.Option(help="Only among this split, repeatable.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Only among this label, repeatable.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Of this dataset of the store.")] = None,
    layer: Annotated[str | None, typer.Option(help="Which array; the first by default.")] = None,
    mask: Annotated[bool, typer.Option("--mask/--no-mask", help="Only the columns that the pinned mask keeps.")] = False,
    metric: Annotated[str, typer.Option(help="cosine or euclidean.")] = "cosine",
    target: Annotated[str, typer.Option("--out", help="The HTML page to write.")] = "similar.html",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out where it exists.")] = False,
    as_json: Json = False,
) -> None:
    with show.progress_on(err) as progress:
        found = searching.similar(
            image,
            store,
            target,
            k=k,
            dataset=dataset,
            split=split or None,
            label=label or None,
            layer=layer,
            mask=mask,
            metric=metric,
            overwrite=overwrite,
            progress=progress,
        )
    rows = [(f"{each.distance:#.4g}", each.row, each.label or "", each.id) for each in found.nearest[:SHOWN]]
    unreadable = sum(bool(each.unreadable) for each in found.nearest)
    facts = [
        ("image", found.image + (f", row {found.row:,}" if found.row is not None else "")),
        *([("label", found.label)] if found.label is not None else []),
        ("searched", f"{found.rows:,} rows, {found.metric}, {found.layer}"),
        *([("without a picture", f"{unreadable:,}")] if unreadable else []),
    ]
    nearest = show.table(f"The nearest {len(rows)}", ("distance", "row", "label", "id"), rows)
    out(asdict(found), as_json, Group(nearest, show.facts(found.out, facts)))


def _answer(answer: Any) -> str:
    return f"{answer['value']:.4g}" if "value" in answer else f"{answer['name']} {answer['probability']:.1%}"
