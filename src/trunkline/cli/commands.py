"""The stages as commands, and looking at what is there."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.markup import escape

from trunkline.cli import filtering, show
from trunkline.cli.app import Json, StorePath, app, err, out
from trunkline.cli.options import takes_spec
from trunkline.clusters import Cluster
from trunkline.commented import commented_spec
from trunkline.errors import SpecError
from trunkline.locations import Location
from trunkline.specs import RunSpec
from trunkline.stages import audit as auditing
from trunkline.stages import backbones as zoo
from trunkline.stages import extract as extraction
from trunkline.stages import fit as fitting
from trunkline.stages import report as reporting
from trunkline.stages import run as running
from trunkline.stages import scan as scanning
from trunkline.stages import select as selecting
from trunkline.stages import status as inspection
from trunkline.wording import counted, in_bytes

EXAMPLES = """
[bold]From a folder of images to features, heads and a report:[/bold]

  trunkline run --source photos/ --store features/

[bold]Then, in Python:[/bold]

  from trunkline import open_features
  X, y = open_features("features/").numpy(split="train")

A run that was stopped is resumed by starting it again; what was committed is not computed twice.
"""


@app.command(
    help="All stages: scan, extract, select, fit, report." + EXAMPLES,
    short_help="All stages, from a folder of images to a report.",
)
@takes_spec
def run(spec: RunSpec, as_json: Json = False) -> None:
    with show.progress_on(err) as progress, Cluster(spec.cluster, progress) as cluster:
        receipt = running.run(spec, cluster, progress)
    out(receipt.summary(), as_json, show.summary_table(receipt.summary()))


@app.command(help="Find new, changed, renamed and removed images, and give them rows.")
@takes_spec
def scan(spec: RunSpec, as_json: Json = False) -> None:
    with show.progress_on(err) as progress:
        receipt = scanning.scan(spec, progress)
    found = asdict(receipt)
    columns = {"new": "added", "changed": "changed", "renamed": "renamed", "removed": "removed", "unchanged": "unchanged"}
    counts = tuple(found[name] for name in columns.values())
    out(found, as_json, show.table(f"Images of {receipt.dataset}", tuple(columns), [counts]))


@app.command(help="Extract the features that are missing.")
@takes_spec
def extract(spec: RunSpec, as_json: Json = False) -> None:
    with show.progress_on(err) as progress, Cluster(spec.cluster, progress) as cluster:
        receipt = extraction.extract(spec, cluster, progress)
    counts = receipt.counts
    row = (counts.live, counts.ok, counts.quarantined, counts.pending, receipt.extracted, receipt.reused)
    drawn = show.table(receipt.feature_set, ("rows", "ok", "quarantined", "pending", "extracted", "reused"), [row])
    out(asdict(receipt), as_json, drawn)


@app.command(help="Fit the variance filter on the training split; a mask stays until --refit.")
@takes_spec
def select(
    spec: RunSpec,
    refit: Annotated[bool, typer.Option("--refit", help="Fit a new mask, though one is pinned.")] = False,
    as_json: Json = False,
) -> None:
    with show.progress_on(err) as progress, Cluster(spec.cluster, progress) as cluster:
        receipt = selecting.select(spec, refit, progress, cluster)
    for note in receipt.notes:
        err.print(note, markup=False)
    out(asdict(receipt), as_json, filtering.drawn(receipt))


@app.command(help="Fit the heads on the features that are kept, and measure them on the test split.")
@takes_spec
def fit(spec: RunSpec, as_json: Json = False) -> None:
    with show.progress_on(err) as progress, Cluster(spec.cluster, progress) as cluster:
        receipt = fitting.fit(spec, progress, cluster=cluster)
    heads = [{"kind": head.kind, **head.metrics.summary(), "head": head.location.uri} for head in receipt.heads]
    lines = [(head.kind, *head.metrics.headline, head.location.uri) for head in receipt.heads]
    drawn = show.table("Heads", ("kind", "figure", "value", "head"), lines)
    for note in receipt.notes:
        err.print(note, markup=False)
    out({"heads": heads, "fitted": receipt.fitted, "notes": list(receipt.notes), "seconds": receipt.seconds}, as_json, drawn)


@app.command(help="Write report.html from what is there, finished or not.")
@takes_spec
def report(spec: RunSpec, as_json: Json = False) -> None:
    with show.progress_on(err) as progress:
        extracted = extraction.survey(spec)
        selected = selecting.selected_before(spec)
        fitted = fitting.fit(spec, only_stored=True) if selected else fitting.FitReceipt((), 0, (), 0.0)
        receipt = reporting.report(spec, running.new_run_id(), extracted, selected, fitted, {}, progress)
    out(asdict(receipt), as_json, show.table("Report", ("report",), [(receipt.report,)]))


@app.command(help="Write a commented spec.yaml to start from.")
def init(
    path: Annotated[str, typer.Argument(help="The file to write; it must not exist.")] = "spec.yaml",
    source: Annotated[str, typer.Option(help="Folder of images.")] = "images/",
    store: Annotated[str, typer.Option(help="Root of the feature store.")] = "features/",
    as_json: Json = False,
) -> None:
    place = Location.of(path)
    try:
        place.create(commented_spec(source, store).encode())
    except FileExistsError:
        raise SpecError(f"{place} exists already and is left as it is. Name another file: trunkline init other.yaml") from None
    out({"spec": place.uri}, as_json, escape(f"Wrote {place}. Change source and store, then: trunkline run {path}"))


@app.command(help="What a store holds: datasets, feature sets, rows, shards, heads, sizes.")
def status(store: StorePath, as_json: Json = False) -> None:
    found = inspection.status(store)
    entries = [(dataset, features) for dataset in found.datasets for features in dataset["feature_sets"] or [None]]
    tables = [show.facts(dataset["dataset"], _status_facts(dataset, features)) for dataset, features in entries]
    out(found.summary(), as_json, Group(escape(f"{found.store}: {in_bytes(found.bytes)}"), *tables))


@app.command(help="Which images could not be read, and why.")
def quarantine(
    store: StorePath, dataset: Annotated[str | None, typer.Option(help="Only of this dataset.")] = None, as_json: Json = False
) -> None:
    found = [{"dataset": name, **asdict(image)} for name, image in inspection.quarantine(store, dataset)]
    drawn = show.table(
        f"{len(found):,} quarantined", ("dataset", "id", "reason", "detail"), [tuple(each.values()) for each in found]
    )
    out({"quarantined": found}, as_json, drawn)


@app.command(help="The backbones there are; with a NAME, or a file of your own, the layers it can be cut at.")
def backbones(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One of the list, or a .onnx, .keras or .h5 file.")
    ] = None,
    size: Annotated[int | None, typer.Option(min=16, max=4096, help="Side of the input in pixels; its own by default.")] = None,
    as_json: Json = False,
) -> None:
    if name is None:
        found = zoo.catalogue()
        out({"backbones": found}, as_json, show.backbones(found))
        return
    described = zoo.describe(name, size).summary()
    out(described, as_json, show.cuts(described))


@app.command(
    help="Extract a random sample of rows again from their images, and compare: are the features right, is the source as it was?"
)
def audit(
    store: StorePath,
    dataset: Annotated[str | None, typer.Option(help="Only of this dataset.")] = None,
    sample: Annotated[int, typer.Option(min=1, help="Rows of each feature set.")] = 64,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    as_json: Json = False,
) -> None:
    with show.progress_on(err) as progress:
        audited = auditing.audit(store, dataset, sample, seed, progress)
    out({"audited": [each.summary() for each in audited]}, as_json, Group(*(show.audited(each.summary()) for each in audited)))
    if any(each.findings for each in audited):
        raise typer.Exit(1)


def _status_facts(dataset: dict[str, Any], features: dict[str, Any] | None) -> list[tuple[str, object]]:
    images = f"{dataset['images']:,} in {counted(dataset['batches'], 'batch', 'batches')}"
    scanned = [("source", dataset["source"]), ("images", images)]
    if features is None:
        return [*scanned, ("features", "none yet; `trunkline extract` makes them")]
    return [
        *scanned,
        ("features", features["feature_set"]),
        ("backbone", f"{features['backbone']}: " + ", ".join(f"{layer} {dim}" for layer, dim in features["layers"].items())),
        ("ok", features["ok"]),
        ("quarantined", features["quarantined"]),
        ("pending", features["pending"]),
        ("shards", f"{features['shards_done']} of {features['shards']} done"),
        (
            "heads",
            ", ".join(f"{head['kind']} {head['measure']} {show.score(head['score'])}" for head in features["heads"]) or "none",
        ),
        ("size", f"{in_bytes(features['bytes'])} as {features['format']}"),
    ]
