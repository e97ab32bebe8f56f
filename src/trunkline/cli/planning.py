"""What a run would cost, before spending."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group
from rich.markup import escape

from trunkline.cli import show
from trunkline.cli.app import Json, app, err, out
from trunkline.cli.options import takes_spec
from trunkline.clusters import Cluster
from trunkline.specs import RunSpec
from trunkline.stages import plan as planning
from trunkline.stages.plan import Plan
from trunkline.wording import in_bytes, in_time


@app.command(help="What a run would do and cost, from a measured sample of its images; nothing is written into the store.")
@takes_spec
def plan(
    spec: RunSpec,
    sample: Annotated[int, typer.Option(min=1, max=1024, help="Images to measure.")] = planning.SAMPLE,
    as_json: Json = False,
) -> None:
    with show.progress_on(err) as progress, Cluster(spec.cluster.of_fixed_size, progress) as cluster:
        planned = planning.plan(spec, cluster, sample, progress)
    drawn = Group(
        f"[bold]{escape(show.plain(planned.headline))}[/bold]",
        show.facts("", [("images", _images(planned)), *_output(planned), *_time(planned), *_memory(planned)]),
        *(escape(show.plain(note)) for note in planned.notes),
    )
    out(planned.summary(), as_json, drawn)


def _images(planned: Plan) -> str:
    found = planned.images
    counts = f"{found.new:,} new, {found.changed:,} changed, {found.renamed:,} renamed, {found.removed:,} removed, "
    counts += f"{found.unchanged:,} unchanged"
    return f"{counts}, of these {found.pending:,} not extracted yet" if found.pending else counts


def _output(planned: Plan) -> list[tuple[str, object]]:
    output = planned.output
    if output is None:
        return []
    size = f"{in_bytes(output.bytes)} before compression"
    if output.stored_bytes is not None and output.ratio is not None:
        size = f"about {in_bytes(output.stored_bytes)}; {size}, which leaves {output.ratio:.0%}"
    bad = f"{sum(planned.bad.values())} of {planned.sampled} in the sample ({show.in_words(planned.bad)})"
    return [
        ("to read", f"{planned.images.to_do:,} images, {in_bytes(planned.images.bytes)}"),
        *([("unreadable", bad)] if planned.bad else []),
        ("to write", f"{output.rows:,} rows of {output.features:,} features: {size}"),
        (
            "objects",
            f"{output.objects:,} for {output.shards:,} shards of up to {output.rows_per_shard:,} rows, as {output.format}",
        ),
        ("free", "not known there" if planned.free is None else in_bytes(planned.free)),
    ]


def _time(planned: Plan) -> list[tuple[str, object]]:
    time, engine = planned.time, planned.engine
    if time is None or engine is None:
        return []
    compiling = f"compiling {in_time(time.compile)}, " if time.compile else ""
    parts = ", ".join(f"{part} {1000 * seconds:.1f}" for part, seconds in time.parts.items())
    cores = f"{engine['workers']} x {engine['threads']} cores"
    return [
        (
            "time",
            f"{in_time(time.seconds)}: listing {in_time(time.scan)}, {compiling}starting workers {in_time(time.start)}, "
            f"extracting {in_time(time.extract)}",
        ),
        ("images/s", f"{time.images_per_second:,.0f} on {cores}, batches of {engine['batch']}, {engine['runtime']}"),
        ("bottleneck", f"{time.bottleneck} (ms an image and thread: {parts})"),
    ]


def _memory(planned: Plan) -> list[tuple[str, object]]:
    memory = planned.memory
    if memory is None:
        return []
    measured = "" if memory.measured is None else f", {in_bytes(memory.measured)} measured on the sample"
    there = "" if memory.available is None else f" of {in_bytes(memory.available)} available"
    return [
        ("memory", f"{in_bytes(memory.worker)} a worker{measured}; {in_bytes(memory.all_workers)} for {memory.workers}{there}")
    ]
