"""What the command line shows: progress bars, tables, one line of JSON."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from trunkline.progress import Progress, Step

UNITS = {
    "scan": "images",
    "extract": "images",
    "select": "shards",
    "compare": "images",
    "fit": "heads",
    "report": "pages",
    "audit": "images",
    "purge": "feature sets",
    "plan": "images",
    "export": "rows",
    "predict": "rows",
    "proof": "images",
    "verify": "shards",
    "repair": "shards",
    "gc": "objects",
    "retry": "images",
    "backfill": "images",
    "look": "steps",
    "similar": "rows",
    "decode": "images",
    "features": "images",
    "head": "epochs",
    "finetune": "images",
    "choose": "images",
    "rank": "cuts",
}
RATED = {"extract", "backfill", "decode", "features", "finetune"}  # their images/s are shown
SECONDS_BETWEEN_LINES = 10.0


@contextlib.contextmanager
def progress_on(console: Console) -> Iterator[Progress]:
    """Bars with images/s and time left on a terminal; elsewhere a line every ten seconds and at each stage's end."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        TextColumn("{task.description:8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        TextColumn("[yellow]{task.fields[note]}"),
    )
    with Bars(*columns, console=console) as bars:
        yield _Bars(bars)


class _Bars:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, step: Step) -> None:
        if step.stage not in self._tasks:
            self._tasks[step.stage] = self._bars.add_task(step.stage, unit=UNITS[step.stage], speed="", note="", total=None)
        task = self._tasks[step.stage]
        drawn = next(each for each in self._bars.tasks if each.id == task)
        if drawn.total is None and step.total is not None:
            self._bars.reset(task, completed=step.done, total=step.total)  # what was done before is no speed of this work
        self._bars.update(task, completed=step.done, total=step.total, note=escape(step.note))
        speed = drawn.speed
        if step.stage in RATED and speed:
            self._bars.update(task, speed=f"{speed:,.0f}/s")


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._started: dict[tuple[str, bool], tuple[float, int]] = {}  # anew once the total is known
        self._last = 0.0

    def __call__(self, step: Step) -> None:
        now = time.monotonic()
        since, before = self._started.setdefault((step.stage, step.total is None), (now, step.done))
        ended = step.total is not None and step.done >= step.total
        if not step.note and not ended and now - self._last < SECONDS_BETWEEN_LINES:
            return
        if step.note and not ended and now - self._last < SECONDS_BETWEEN_LINES and step.done:
            return
        self._last = now
        done = step.done - before
        words = (
            f"{step.stage}: {step.done:,} of {step.total:,} {UNITS[step.stage]}"
            if step.total is not None
            else f"{step.stage}: {step.done:,}"
        )
        if step.stage in RATED and done and now > since:
            speed = done / (now - since)
            words += f", {speed:,.0f}/s"
            words += "" if ended or step.total is None else f", {_duration((step.total - step.done) / speed)} left"
        self._console.print(words + (f" ({step.note})" if step.note else ""), markup=False, highlight=False)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table whose cells are shown as they are; numbers stand right."""
    drawn = Table(title=escape(plain(title)), title_justify="left", title_style="bold")
    for number, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[number], int | float) for row in rows)
        drawn.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(escape(_cell(value)) for value in row))
    return drawn


def summary_table(summary: Mapping[str, Any]) -> Group:
    """What was done by a run, in one small table, and where it lies, unbroken so that it can be copied; print with `crop=False`."""
    features = summary["features"]
    quarantined = f"{summary['quarantined']:,}" + (f" ({in_words(summary['reasons'])})" if summary["reasons"] else "")
    speed = summary["images_per_second"]
    extracted = f"{summary['extracted']:,} now, {summary['reused']:,} from earlier runs"
    rows = [
        ("rows", f"{summary['rows']:,}"),
        ("ok", f"{summary['ok']:,}"),
        ("quarantined", quarantined),
        ("extracted", extracted if summary["extracted"] else f"0: nothing is new, {summary['reused']:,} from earlier runs"),
        *([("images/s", f"{speed:,.0f}")] if speed else []),
        ("features kept", f"{features['kept']:,} of {features['dim']:,} ({features['layer']})"),
        *((f"{head['measure']} {head['kind']}", score(head["score"])) for head in summary["heads"]),
        *(("note", note) for note in summary["notes"]),
    ]
    places = f"features  {summary['feature_set']}\nreport    {summary['report']}"
    return Group(facts("", rows), Text(places, no_wrap=True, overflow="ignore"))


def backbones(found: Sequence[Mapping[str, Any]]) -> Group:
    """The catalogue, names unbroken so that they can be copied, narrow enough for a terminal of 80 columns."""
    drawn = Table(title=f"{len(found)} backbones", title_justify="left", title_style="bold", box=SIMPLE, pad_edge=False)
    drawn.add_column("backbone", no_wrap=True)
    for name in ("params", "size", "width"):
        drawn.add_column(name, justify="right")
    drawn.add_column("weights")
    drawn.add_column("default cut", overflow="fold")
    for each in found:
        millions = f"{each['parameters'] / 1e6:.1f} M" if each["parameters"] >= 1e5 else f"{each['parameters']:,}"
        drawn.add_row(each["backbone"], millions, str(each["size"]), f"{each['width']:,}", each["weights"], each["cut"])
    hint = "`trunkline backbones NAME` lists the layers it can be cut at. A network of your own: a .onnx, .keras or .h5 file."
    return Group(drawn, hint)


def cuts(backbone: Mapping[str, Any]) -> Group:
    """Where a backbone can be cut: a line a layer, what it is, and how many features a row has, pooled and not."""
    lines = [
        (
            each["number"],
            each["layer"] + (" (default)" if each["layer"] == backbone["cut"] else ""),
            each["kind"],
            " x ".join("?" if side is None else str(side) for side in each["shape"]),
            "?" if each["pooled"] is None else each["pooled"],
            "?" if each["flat"] is None else each["flat"],
        )
        for each in backbone["layers"]
    ]
    about = f"{backbone['backbone']} at {backbone['size']} x {backbone['size']} pixels, {backbone['normalisation']}"
    if backbone["parameters"]:
        about += f", {backbone['parameters']:,} parameters"
    hint = "Cut with --layer NAME or --layer NUMBER, several for several arrays; --pooling none keeps maps whole."
    return Group(table(about, ("#", "layer", "kind", "shape", "pooled", "un-pooled"), lines), hint)


def audited(found: Mapping[str, Any]) -> Group:
    """What an audit of one feature set saw, and each row that is not as it was committed."""
    deviation = found["largest_deviation"]
    rows = [
        ("rows checked", f"{found['checked']:,} of {found['rows']:,}"),
        ("bytes as committed", f"{found['same_bytes']:,}"),
        ("equal bit for bit", f"{found['equal_bits']:,}, {found['same_environment']:,} from this kind of machine"),
        ("largest deviation", "–" if deviation is None else f"{deviation:.3g}"),
        ("lowest cosine", "–" if deviation is None else f"{found['lowest_cosine']:.7f}"),
        ("findings", f"{len(found['findings']):,}"),
    ]
    lines = [(each["row"], each["id"], each["kind"], each["detail"]) for each in found["findings"]]
    findings = [table("Not as committed", ("row", "image", "what", "detail"), lines)] if lines else []
    return Group(facts(found["feature_set"], rows), *findings)


def facts(title: str, rows: Sequence[tuple[str, object]]) -> Table:
    """Names and values, a line each; it stays readable on a narrow terminal."""
    drawn = Table(title=escape(plain(title)) or None, title_justify="left", title_style="bold", show_header=False)
    drawn.add_column(style="bold", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, value in rows:
        drawn.add_row(name, escape(_cell(value)))
    return drawn


def json_line(value: Mapping[str, Any]) -> None:
    """One JSON object as a line of stdout."""
    Console(soft_wrap=True).out(json.dumps(value, default=str), highlight=False)


def score(value: float | None) -> str:
    """A figure of a head; a dash where it is not known."""
    return "–" if value is None else f"{value:.4f}"


def in_words(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items(), key=lambda item: -item[1]))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else plain(str(value))


def plain(text: str) -> str:
    """Text for a terminal: control characters and changes of direction, as file names may hold, are written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m" if hours else f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"
