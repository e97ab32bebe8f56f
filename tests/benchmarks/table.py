"""What the benchmark prints at its end."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.table import Table

from tests.benchmarks.catalogue import PATHS
from tests.benchmarks.summary import LEAST_ORCHESTRATED, PER, Added, NetworkSummary, Ratio, Spread

LEGEND = (
    "img/s: median of the repeats (lowest–highest). Steady: from the first read to the last commit. Whole: with scanning and the "
    "start of the workers. Keras, tf.data and PyTorch have one figure, from a built and warmed-up model to the closed file. "
    "Limit: 1 / (1/forward + 1/decode). Ratios: median of the ratios inside each repeat. Peak: largest sum over all processes of "
    "a way, shared pages counted in each; beside it the largest process alone."
)


def show(console: Console, summary: NetworkSummary, skipped: Mapping[str, str]) -> None:
    """The table of ways, and that of ratios with their targets."""
    console.print(_ways(summary, skipped))
    if summary.ratios:
        console.print(_ratios(summary))
    if summary.added is not None:
        console.print(_added(summary.added))


def _ways(summary: NetworkSummary, skipped: Mapping[str, str]) -> Table:
    table = Table(title=summary.network, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", caption_justify="left")
    table.add_column("", no_wrap=True)
    for heading in ("images", "steady img/s", "whole img/s", "peak MiB", "largest process"):
        table.add_column(heading, justify="right")
    for key, way in PATHS.items():
        if key in summary.paths:
            path = summary.paths[key]
            memory = (f"{path.peak_mib:,.0f}", f"{path.largest_process_mib:,.0f}")
            table.add_row(way.title, f"{path.images:,}", _rate(path.steady), _rate(path.whole), *memory)
    table.caption = "\n".join(f"without {PATHS[key].title}: {reason}" for key, reason in skipped.items())
    for precision, limit in summary.limits.items():
        table.add_row(f"limit {precision}", "", _rate(limit))
    return table


def _ratios(summary: NetworkSummary) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(f"ratio, {summary.network}")
    for heading in ("steady", "whole", "target", ""):
        table.add_column(heading, justify="right")
    for ratio in summary.ratios:
        target = f"≥ {ratio.target:.2f}" if ratio.target else ""
        table.add_row(ratio.name, _spread(ratio.steady), _spread(ratio.whole), target, _verdict(ratio))
    return table


def _added(added: Added) -> Table:
    title = f"What Prefect and Dask add to a plain loop, measured on {added.images:,} images"
    title += ", too few for more than the start of things" if added.images < LEAST_ORCHESTRATED else ""
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    table.add_column("")
    table.add_column("seconds", justify="right")
    table.add_row(f"for each {PER:,} images", _seconds(added.steady))
    table.add_row("once a run: workers, planning, counting", _seconds(added.once))
    table.add_row("once a run: the flow beyond its stages, temporary server and report included", _seconds(added.flow))
    return table


def _seconds(spread: Spread) -> str:
    return f"{spread.median:+,.1f} ({spread.low:+,.1f} to {spread.high:+,.1f})"


def _verdict(ratio: Ratio) -> str:
    if ratio.target is None:
        return ""
    if ratio.images < ratio.least_images:
        return f"for {ratio.least_images:,} images"
    return "[green]met[/]" if ratio.steady.median >= ratio.target else "[red]missed[/]"


def _rate(spread: Spread) -> str:
    digits = 0 if spread.median >= 100 else 1
    return f"{spread.median:,.{digits}f} ({spread.low:,.{digits}f}–{spread.high:,.{digits}f})"


def _spread(spread: Spread | None) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f}–{spread.high:.2f})" if spread else ""
