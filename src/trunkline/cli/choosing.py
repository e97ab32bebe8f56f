"""`trunkline choose`: which backbone, cut where, suits these images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.box import SIMPLE
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from trunkline.cli import show
from trunkline.cli.app import Json, app, err, out
from trunkline.cli.options import takes_spec_without_store
from trunkline.clusters import Cluster
from trunkline.probing.choice import Choice
from trunkline.probing.ranking import CutScore, front
from trunkline.probing.sample import SAMPLE
from trunkline.specs import ColumnsSpec, RunSpec
from trunkline.stages import choose as choosing
from trunkline.wording import counted, in_bytes

NARROW = ("network", "layer", "macro-F1", "images/s", "width")
WIDE = (*NARROW, "size", "LogME", "H-score")
WIDE_ENOUGH = 110  # columns of a terminal
SHOWN = 20  # cuts in the terminal; the page and --json have all
OPTIONS = (
    *("source", "store", "labels", "source_kind"),
    *(f"{column}_column" for column in ColumnsSpec.model_fields),
    *("cluster", "workers", "address"),
    *(
        "layer",
        "weights",
        "pooling",
        "preset",
        "size",
        "fit",
        "kernel",
        "antialias",
        "exif",
        "decode",
        "batch",
        "runtime",
        "max_bad",
    ),
    "seed",
)
HELP = """Which backbone, cut where, suits these images: networks at many layers on a sample, ranked by a cross-validated linear head.

  trunkline choose --source photos/ --backbones efficientnet-lite0,efficientnet-lite0@160,resnet50:gem --out choose.html

A network is a name, @ a size in pixels, : a pooling. No store is read or written.
"""


@app.command(help=HELP, short_help="Which backbone, cut where, suits these images: a ranking from a sample.")
@takes_spec_without_store(*OPTIONS)
def choose(
    spec: RunSpec,
    backbones: Annotated[
        str | None,
        typer.Option(
            help="Networks with commas: NAME, NAME@SIZE, NAME:POOLING; by default all whose weights are on this machine."
        ),
    ] = None,
    sample: Annotated[int, typer.Option(min=10, max=50_000, help="Training images to look at.")] = SAMPLE,
    target: Annotated[
        str | None, typer.Option("--out", metavar="PAGE.html", help="Also write one self-contained page there.")
    ] = None,
    scratch: Annotated[
        str | None,
        typer.Option(help="Where compiled networks lie meanwhile, for workers at an address; a temporary folder by default."),
    ] = None,
    as_json: Json = False,
) -> None:
    with show.progress_on(err) as progress, Cluster(spec.cluster) as cluster:
        choice = choosing.choose(spec, backbones, cluster, sample, target, scratch, progress)
    out(choice.summary(), as_json, _drawn(choice, (err if as_json else Console()).width))


def _drawn(choice: Choice, columns: int) -> Group:
    """For a terminal so wide; names stay whole, so that they can be copied."""
    worth = front(choice.cuts)
    shown = [cut for place, cut in enumerate(choice.cuts) if place < SHOWN or cut in worth]
    names = WIDE if columns >= WIDE_ENOUGH else NARROW
    rest = [f"{counted(len(choice.cuts) - len(shown), 'cut')} more"] if len(shown) < len(choice.cuts) else []
    rest += ["LogME, H-score and sizes"] if names == NARROW else []
    hint = "* nothing is both better and faster." + (f" {' and '.join(rest)}: --out, --json." if rest else "")
    parts: list[Any] = [_table(choice, shown, names, worth), Text(hint)]
    if choice.networks:
        lines = [(each.entry, each.nce, each.leep, each.entropy, each.marginal) for each in choice.networks]
        parts.append(show.table("The networks' own classes", ("network", "NCE", "LEEP", "entropy", "of the mean"), lines))
    parts += [Text(show.plain(note)) for note in (*choice.notes, *choice.warnings)]
    parts += [Text(""), Text(show.plain(choice.sentence), style="bold")]
    return Group(*parts, Text(show.plain(choice.command), no_wrap=True, overflow="ignore"))


def _table(choice: Choice, shown: Sequence[CutScore], names: Sequence[str], worth: Sequence[CutScore]) -> Table:
    title = f"{choice.sampled:,} of {counted(choice.images, 'image')}, {choice.classes:,} classes, best first"
    drawn = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        drawn.add_column(name, no_wrap=True, justify="left" if name in ("network", "layer") else "right")
    for cut in shown:
        cells = _cells(cut, cut in worth)
        drawn.add_row(*(escape(show.plain(cells[name])) for name in names), style="bold" if cut == choice.use else None)
    return drawn


def _cells(cut: CutScore, is_worth: bool) -> dict[str, str]:
    return {
        "network": cut.entry,
        "layer": cut.layer,
        "width": f"{cut.width:,}",
        "macro-F1": f"{cut.f1:.3f} ± {cut.spread:.3f}{' *' if is_worth else '  '}",
        "images/s": f"{cut.images_per_second:,.0f}",
        "size": in_bytes(cut.bytes),
        "LogME": f"{cut.logme:.3f}",
        "H-score": f"{cut.h_score:.2f}",
    }
