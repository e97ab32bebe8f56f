"""Backfill: rows of a dataset under several recipes, from one decode of each image."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Group
from rich.markup import escape

from trunkline.cli import show
from trunkline.cli.app import Json, StorePath, app, err, out
from trunkline.clusters import Cluster
from trunkline.specs import BackfillSpec, content_of, validated
from trunkline.stages import backfill as backfilling
from trunkline.stages.backfill import BackfillReceipt
from trunkline.stages.backfill_plan import plan_backfill
from trunkline.wording import in_time

ROWS, RECIPE, HOW = "Which rows", "Recipes", "How far, and how"
EXAMPLES = """
[bold]Two backbones over all images, each read and decoded once:[/bold]

  trunkline backfill features/ --backbone efficientnet-lite0 --backbone resnet50

[bold]What is missing of the batches scanned since a day, under every recipe there is:[/bold]

  trunkline backfill features/ --since 2026-11-01

Recipes that differ in more than the backbone stand in a YAML file as `recipes:`. Stopped, it goes on when it is started again.
"""


def _help(name: str) -> str:
    return str(BackfillSpec.model_fields[name].description)


@app.command(
    help="Extract rows of a dataset under one recipe or several, slice by slice, from one decode of each image." + EXAMPLES,
    short_help="Rows of a dataset under several recipes at once.",
)
def backfill(
    store: StorePath,
    spec_file: Annotated[
        str | None, typer.Argument(metavar="[SPEC.YAML]", help="Keys of a backfill, recipes among them. Options override it.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help=_help("dataset"), rich_help_panel=ROWS)] = None,
    rows: Annotated[str | None, typer.Option(metavar="FIRST:STOP", help=_help("rows"), rich_help_panel=ROWS)] = None,
    batches: Annotated[str | None, typer.Option(metavar="FIRST:STOP", help=_help("batches"), rich_help_panel=ROWS)] = None,
    since: Annotated[str | None, typer.Option(metavar="DAY", help=_help("since"), rich_help_panel=ROWS)] = None,
    until: Annotated[str | None, typer.Option(metavar="DAY", help=_help("until"), rich_help_panel=ROWS)] = None,
    newest_first: Annotated[
        bool | None, typer.Option("--newest-first", help=_help("newest_first"), rich_help_panel=ROWS)
    ] = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            help="one of `trunkline backbones`, or several; every feature set there is by default",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    max_images: Annotated[int | None, typer.Option(help=_help("max_images"), rich_help_panel=HOW)] = None,
    max_hours: Annotated[float | None, typer.Option(help=_help("max_hours"), rich_help_panel=HOW)] = None,
    slice_images: Annotated[int | None, typer.Option(help=_help("slice_images"), rich_help_panel=HOW)] = None,
    max_bad: Annotated[float | None, typer.Option(help=_help("max_bad_fraction"), rich_help_panel=HOW)] = None,
    price: Annotated[float | None, typer.Option(help=_help("price_per_worker_hour"), rich_help_panel=HOW)] = None,
    cluster: Annotated[str | None, typer.Option(help=_help("cluster"), rich_help_panel=HOW)] = None,
    workers: Annotated[int | None, typer.Option(help="worker processes", rich_help_panel=HOW)] = None,
    address: Annotated[str | None, typer.Option(help="address of a scheduler", rich_help_panel=HOW)] = None,
    dry_run: Annotated[bool, typer.Option("--plan", help="Only say what is to be done.")] = False,
    as_json: Json = False,
) -> None:
    given = {
        "dataset": dataset,
        "rows": rows,
        "batches": batches,
        "since": since,
        "until": until,
        "newest_first": newest_first,
        "recipes": [{"backbone": name} for name in backbone] if backbone else None,
        "max_images": max_images,
        "max_hours": max_hours,
        "slice_images": slice_images,
        "max_bad_fraction": max_bad,
        "price_per_worker_hour": price,
    }
    where = {"kind": cluster or ("address" if address else None), "workers": workers, "address": address}
    spec = _spec(store, spec_file, given, where)
    with show.progress_on(err) as progress, Cluster(spec.cluster) as opened:
        if dry_run:
            plan = plan_backfill(spec, opened, progress)
        else:
            receipt = backfilling.backfill(spec, opened, progress)
    if dry_run:
        lines = [(each.number, f"{each.first}:{each.stop}", each.images, _seconds(each.seconds)) for each in plan.slices]
        drawn = show.table("Slices", ("slice", "rows", "images", "estimated"), lines)
        out(plan.summary(), as_json, Group(escape(show.plain(plan.headline)), *([drawn] if lines else [])))
    else:
        out(receipt.summary(), as_json, _drawn(receipt))


def _spec(store: str, spec_file: str | None, given: dict[str, Any], where: dict[str, Any]) -> BackfillSpec:
    content = content_of(spec_file) if spec_file else {}
    content |= {"store": store} | {name: value for name, value in given.items() if value is not None}
    if said := {name: value for name, value in where.items() if value is not None}:
        content["cluster"] = {**content.get("cluster", {}), **said}
    return validated(BackfillSpec, content, where=spec_file or "The options")


def _drawn(receipt: BackfillReceipt) -> Group:
    rows: list[tuple[str, object]] = [("dataset", receipt.plan.dataset)]
    for digest, words in receipt.plan.recipes.items():
        counts = [each.extracted.get(digest, {}) for each in receipt.slices]
        ok, bad = (sum(each.get(status, 0) for each in counts) for status in ("ok", "quarantined"))
        rows.append((digest, f"{words}: {ok:,} ok, {bad:,} quarantined now"))
    speed = receipt.images_per_second
    rows.append(("images", f"{receipt.images:,} read" + (f", {speed:,.0f} a second" if speed else "")))
    rows.append(
        ("worker hours", f"{receipt.worker_hours:.3f}" + ("" if receipt.cost is None else f", cost {receipt.cost:,.2f}"))
    )
    return Group(escape(show.plain(receipt.in_words())), show.facts("", rows))


def _seconds(seconds: float | None) -> str:
    return "not known yet" if seconds is None else in_time(seconds)
