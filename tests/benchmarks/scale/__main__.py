"""`python -m tests.benchmarks.scale 1000000 3000000`: seconds and memory of each step, and what a million rows more cost."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.scale.step import STEPS
from tests.benchmarks.scale.stub import own_seconds
from trunkline.locations import Location

WORKERS = 2
BOOKKEEPING_SAMPLE = 100_000


def measured(rows: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Every step over a fresh store, in order, each in a process of its own."""
    store = folder / f"store-{rows}"
    found = {step: _step(step, rows, store) for step in STEPS if step != "extract-inline"}
    found["store"] = {"bytes": Location.of(store).size(), "objects": sum(1 for each in store.rglob("*") if each.is_file())}
    return found


def bookkeeping(folder: Path) -> float:
    """Seconds an image of the serial loop over what the stub itself takes, from the difference of two sizes."""
    seconds = []
    for rows in (BOOKKEEPING_SAMPLE // 5, BOOKKEEPING_SAMPLE // 5 + BOOKKEEPING_SAMPLE):
        store = folder / f"inline-{rows}"
        _step("scan", rows, store)
        seconds.append(_step("extract-inline", rows, store)["seconds"])
    return (seconds[1] - seconds[0]) / BOOKKEEPING_SAMPLE - own_seconds()


def _step(step: str, rows: int, store: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.scale.step", step, str(rows), str(store)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{step} of {rows:,} rows failed:\n{ended.stderr}")
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    sys.stderr.write(f"{rows:,} {step}: {found['seconds']:.1f} s, {found['driver']:.0f} MiB\n")
    return found


def table(found: dict[int, dict[str, dict[str, Any]]]) -> str:
    """Markdown: a line a step; seconds and MiB at each size, seconds per million rows between the smallest and the largest."""
    sizes = sorted(found)
    heads = ["step", *(f"{size / 1e6:g} M rows" for size in sizes), "s per M rows more"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for step in found[sizes[0]]:
        if step == "store":
            continue
        cells = [f"{found[size][step]['seconds']:.1f} s, {found[size][step]['driver']:.0f} MiB" for size in sizes]
        if step == "extract":
            cells = [f"{cell}, worker {found[size][step]['worker']:.0f} MiB" for cell, size in zip(cells, sizes, strict=True)]
        slope = "–"
        if len(sizes) > 1:
            more = found[sizes[-1]][step]["seconds"] - found[sizes[0]][step]["seconds"]
            slope = f"{more / (sizes[-1] - sizes[0]) * 1e6:.2f}"
        lines.append(f"| {step} | " + " | ".join(cells) + f" | {slope} |")
    held = [f"{found[size]['store']['objects']:,} objects, {found[size]['store']['bytes'] / 1e6:,.0f} MB" for size in sizes]
    return "\n".join([*lines, "| store | " + " | ".join(held) + " | – |"])


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="+")
    parser.add_argument("--folder", type=Path, help="where stores are made and left; a temporary one by default")
    parser.add_argument("--json", type=Path, help="write the figures here")
    said = parser.parse_args(given)
    with tempfile.TemporaryDirectory() as temporary:
        folder = said.folder or Path(temporary)
        each = bookkeeping(folder)
        found = {rows: measured(rows, folder) for rows in said.rows}
    if said.json:
        said.json.write_text(json.dumps({"bookkeeping": each, "rows": found}, indent=2))
    sys.stdout.write(
        f"{table(found)}\n\nBookkeeping of the serial loop: {each * 1e6:.0f} µs an image over the stub's own cost.\n"
    )


if __name__ == "__main__":
    main()
