"""`trunkline predict`: what a fitted head says of committed rows, or of new images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.markup import escape

from trunkline.cli import show
from trunkline.cli.app import Json, app, err, out
from trunkline.errors import SpecError
from trunkline.specs import ColumnsSpec
from trunkline.stages.predict import predict_rows
from trunkline.stages.predict_images import predict_images
from trunkline.wording import counted

OF_ROWS, OF_IMAGES = "Committed rows", "New images"
SHOWN_BAD = 10


@app.command(help="What a fitted head says of committed rows (kept in the store), or of new images: --images SOURCE.")
def predict(
    uri: Annotated[str, typer.Argument(metavar="STORE_OR_FEATURE_SET", help="A feature set, or a store that holds one.")],
    head: Annotated[str | None, typer.Option(help="Kind or digest of a head; the only one by default.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Of this dataset of the store.")] = None,
    split: Annotated[str | None, typer.Option(help="Only rows of this split.", rich_help_panel=OF_ROWS)] = None,
    batch: Annotated[int | None, typer.Option(min=0, help="Only rows that this scan added.", rich_help_panel=OF_ROWS)] = None,
    rows: Annotated[str | None, typer.Option(help="Only rows a:b, b not included.", rich_help_panel=OF_ROWS)] = None,
    images: Annotated[
        str | None,
        typer.Option(help="An image, folder, glob, table or tars, a path or any URL.", rich_help_panel=OF_IMAGES),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--out", help="Write the answers: .csv, .json or .parquet.", rich_help_panel=OF_IMAGES)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace --out where it exists.", rich_help_panel=OF_IMAGES)
    ] = False,
    source_kind: Annotated[
        str, typer.Option(help="folder, glob, table, tar or bytes; auto looks.", rich_help_panel=OF_IMAGES)
    ] = "auto",
    id_column: Annotated[str | None, typer.Option(help="Of a table: ids.", rich_help_panel=OF_IMAGES)] = None,
    uri_column: Annotated[str | None, typer.Option(help="Of a table: URIs.", rich_help_panel=OF_IMAGES)] = None,
    image_column: Annotated[str | None, typer.Option(help="Of Parquet: image bytes.", rich_help_panel=OF_IMAGES)] = None,
    as_json: Json = False,
) -> None:
    of_rows = {"--split": split, "--batch": batch, "--rows": rows}
    of_images = {"--out": target, "--overwrite": overwrite or None, "--id-column": id_column, "--uri-column": uri_column}
    of_images["--image-column"] = image_column
    _refuse(of_rows if images else of_images, bool(images))
    with show.progress_on(err) as progress:
        if images:
            columns = ColumnsSpec(id=id_column, uri=uri_column, image=image_column)
            predicted = predict_images(
                uri,
                images,
                head,
                target,
                dataset=dataset,
                source_kind=source_kind,
                columns=columns,
                overwrite=overwrite,
                progress=progress,
            )
            facts = [
                ("images", f"{predicted.images:,}, {predicted.images_per_second:,.0f}/s"),
                *([("unreadable", show.in_words(predicted.unreadable))] if predicted.unreadable else []),
                *([("counts", show.in_words(predicted.counts))] if predicted.counts else []),
            ]
            drawn = [_first(predicted.first), *([_bad(predicted.bad)] if predicted.bad else [])]
            out(asdict(predicted), as_json, Group(*drawn, show.facts(predicted.out or predicted.head, facts)))
            return
        stored = predict_rows(
            uri, head, dataset=dataset, split=split, batch=batch, rows=_slice(rows) if rows else None, progress=progress
        )
    facts = [
        ("head", stored.head),
        ("mask", stored.mask),
        ("rows", f"{stored.rows:,}" + (", predicted before (cached)" if stored.cached else "")),
        *([("counts", show.in_words(stored.counts))] if stored.counts else []),
    ]
    out(asdict(stored), as_json, Group(_first(stored.first), show.facts(stored.predictions, facts)))


def _refuse(given: Mapping[str, object], with_images: bool) -> None:
    wrong = [name for name, value in given.items() if value is not None]
    if wrong:
        belongs = "committed rows, and --images names others" if with_images else "new images: give --images too"
        raise SpecError(f"{', '.join(wrong)} is about {belongs}. Leave it out.")


def _slice(rows: str) -> slice:
    first, colon, last = rows.partition(":")
    if not colon or not all(part == "" or part.isdecimal() for part in (first, last)):
        raise SpecError(
            f"--rows {rows} is no range of row numbers. Write it as 0:1000, 5000: or :200; the end is not included."
        )
    return slice(int(first) if first else None, int(last) if last else None)


def _first(rows: Sequence[Mapping[str, Any]]) -> Any:
    shown = [{name: _cell(value) for name, value in row.items() if name in SHOWN} for row in rows]
    return show.table("First rows", tuple(shown[0]), [tuple(row.values()) for row in shown]) if shown else escape("No answer.")


SHOWN = ("row", "id", "predicted", "labels", "probability", "value")


def _cell(value: Any) -> Any:
    return ", ".join(value) if isinstance(value, list) else value


def _bad(bad: Sequence[Mapping[str, str]]) -> Any:
    title = (
        f"{counted(len(bad), 'image')} that could not be read"
        if len(bad) <= SHOWN_BAD
        else f"The first {SHOWN_BAD} unreadable images"
    )
    return show.table(title, ("id", "reason", "detail"), [tuple(each.values()) for each in bad[:SHOWN_BAD]])
