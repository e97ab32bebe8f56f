"""`trunkline compare`: two runs side by side."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group
from rich.markup import escape
from rich.text import Text

from trunkline.cli import show
from trunkline.cli.app import Json, app, out
from trunkline.comparing.differences import Comparison, Figure
from trunkline.metrics.names import NAMES, in_words
from trunkline.stages.compare import compare_runs

Run = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or the path or URL of its folder or metrics.json.")]


@app.command(help="Two runs side by side: what differs in the spec, in rows, features, speed and in each head's metrics.")
def compare(
    first: Run,
    second: Run,
    store: Annotated[str | None, typer.Option(help="The store that run ids are of.")] = None,
    html: Annotated[str | None, typer.Option(metavar="OUT", help="Also write one self-contained page there.")] = None,
    as_json: Json = False,
) -> None:
    found = compare_runs(first, second, store, html)
    out(found.summary() | ({"html": html} if html else {}), as_json, _drawn(found))


def _drawn(found: Comparison) -> Group:
    columns = ("", *(escape(show.plain(run)) for run in (found.first.run, found.second.run)), "difference")
    settings = [(setting.name, setting.first, setting.second) for setting in found.settings]
    parts = [
        *(Text(show.plain(f"Note: {warning}")) for warning in found.warnings),
        show.table("What differs in the spec", columns[:3], settings) if settings else "The specs are equal.",
        show.table("Rows, features, time", columns, [(each.name, *each.words) for each in found.quantities]),
        *(show.table(pair.kind, (*columns, "intervals"), [_figure(each) for each in pair.figures]) for pair in found.heads),
    ]
    return Group(*parts)


def _figure(each: Figure) -> tuple[str, ...]:
    verdict = {None: "", True: "better", False: "worse"}[each.better]
    overlap = {None: "", True: "apart", False: "overlap"}[each.apart]
    difference = in_words(each.difference, each.name, signed=True)
    first, second = (
        _with_interval(value, interval, each.name)
        for value, interval in ((each.first, each.first_interval), (each.second, each.second_interval))
    )
    return NAMES[each.name], first, second, f"{difference} {verdict}".strip(), overlap


def _with_interval(value: float, interval: tuple[float, float] | None, name: str) -> str:
    words = in_words(value, name)
    return words if interval is None else f"{words} ({' to '.join(in_words(end, name) for end in interval)})"
