"""`make bench`, or `python -m tests.benchmarks --help`.

Every way runs in a process of its own. The repeats are interleaved: the first of all ways, then the second, so that a machine that
changes its speed changes it for all. Exit status 1 where a way failed; a missed target is a figure, not a failure.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.benchmarks.catalogue import PATHS, precisions_of
from tests.benchmarks.image_folder import jpegs_below, read_all, spread
from tests.benchmarks.job import Job
from tests.benchmarks.machine import in_words, machine
from tests.benchmarks.make_images import make_images
from tests.benchmarks.measure import Measured, measure
from tests.benchmarks.networks import NETWORKS
from tests.benchmarks.summary import summarise
from tests.benchmarks.table import LEGEND, show

WIDTH = 120  # what the tables take, also where nobody looks
FAILURE_SHOWN = 400  # characters; the JSON file holds more


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the JSON file."""
    options = _options(arguments)
    console = Console(highlight=False)
    console = Console(highlight=False, width=max(console.width, WIDTH))
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=options.work, ignore_cleanup_errors=True) as folder:
        bench = Bench(options, console, Path(folder))
        bench.prepare()
        runs = bench.repeats()
    summaries = [summarise(network, runs) for network in options.networks]
    for summary in summaries:
        show(console, summary, bench.skipped)
    console.print(LEGEND, style="dim")
    said = machine()
    console.print(in_words(said), style="dim")
    if options.json:
        record = {
            "machine": said,
            "settings": {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()},
            "images": bench.images,
            "skipped": bench.skipped,
            "summary": {summary.network: asdict(summary) for summary in summaries},
            "runs": [asdict(run) for run in runs],
        }
        options.json.write_text(json.dumps(record, indent=2))
    return int(any(run.failed for run in runs))


@dataclass
class Bench:
    """The order of things: images, compiled backbones, then the repeats."""

    options: argparse.Namespace
    console: Console
    scratch: Path

    def __post_init__(self) -> None:
        reasons = {key: PATHS[key].why_not() for key in self.options.only}
        self.skipped: dict[str, str] = {key: reason for key, reason in reasons.items() if reason}
        self.keys = [key for key in self.options.only if key not in self.skipped]
        self.images: dict[str, Any] = {}

    def prepare(self) -> None:
        """Images in place, backbones compiled; ways that cannot run are named once."""
        for key, reason in self.skipped.items():
            self.console.print(f"without {PATHS[key].title}: {reason}")
        files, origin = self._files()
        counts = {self._folder(key).name: self._count(key) for key in self.keys}
        for name, count in counts.items():
            spread(files, self.scratch / name, count)
        size = sum(file.stat().st_size for file in files) / len(files)
        self.images = {"from": origin, "files": len(files), "mean_bytes": round(size)}
        self.console.print(f"{len(files):,} JPEGs from {origin}, {size / 1000:.0f} kB on average")
        for network in self.options.networks:
            for precision in precisions_of(self.keys):
                self._measured(f"compile-{precision}", network, 0)

    def repeats(self) -> list[Measured]:
        runs: list[Measured] = []
        for repeat in range(1, self.options.repeats + 1):
            for network in self.options.networks:
                for key in self.keys:
                    read_all(self._folder(key))
                    runs.append(self._measured(key, network, repeat))
        return runs

    def _files(self) -> tuple[list[Path], str]:
        options = self.options
        if options.images is None:
            self.console.print(f"making {options.count:,} photo-like JPEGs ...")
            return list(make_images(self.scratch / "made", options.count)), "the benchmark's own maker"
        files = jpegs_below(options.images)[: options.count]
        if not files:
            sys.exit(f"There are no JPEGs (.jpg, .jpeg) in {options.images}.")
        return files, str(options.images)

    def _folder(self, key: str) -> Path:
        return self.scratch / f"images-{self._count(key)}"

    def _count(self, key: str) -> int:
        many = PATHS[key].group == "orchestration"
        return int(self.options.orchestration_count if many else self.options.count)

    def _measured(self, key: str, network: str, repeat: int) -> Measured:
        folder, compiled = self._folder(key), self.scratch / "compiled"
        job = Job(key, network, str(folder), self._count(key), str(compiled), work="")
        done = measure(job, repeat, self.scratch)
        when = f"repeat {repeat} of {self.options.repeats}" if repeat else "preparation"
        self.console.print(f"{when}  {network}  {PATHS[key].title}: {_in_words(done)}", markup=False)
        return done


def _in_words(done: Measured) -> str:
    if done.timing is None:
        return f"failed, {done.failed[-FAILURE_SHOWN:]}"
    if not done.timing.images:
        return f"{done.timing.whole_seconds:.1f} s"
    return f"{done.rate:,.1f} images/s, whole {done.timing.whole_seconds:.1f} s, peak {done.peak_mib:,.0f} MiB"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description="Ways from image files to features, side by side."
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="a folder with JPEGs; photo-like ones are made without it")
    parser.add_argument("--count", type=int, default=1000, help="images; fewer files are taken again (default: 1000)")
    parser.add_argument("--networks", type=_names(NETWORKS), default=list(NETWORKS), help=f"of: {', '.join(NETWORKS)}")
    parser.add_argument("--repeats", type=int, default=5, help="of every way, interleaved (default: 5)")
    parser.add_argument("--only", type=_names(PATHS), help=f"of: {', '.join(_offered())}")
    parser.add_argument("--orchestration", action="store_true", help="also Prefect + Dask against a plain loop")
    parser.add_argument("--orchestration-count", type=int, default=10_000, help="images of those two (default: 10000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every raw repeat and the summary")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="where images and stores lie meanwhile; the system's by default"
    )
    options = parser.parse_args(arguments)
    options.only = options.only or [key for key in _offered() if options.orchestration or PATHS[key].group != "orchestration"]
    return options


def _offered() -> list[str]:
    return [key for key, way in PATHS.items() if way.group != "preparation"]


def _names(known: Any) -> Any:
    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of: {', '.join(known)}")
        return list(dict.fromkeys(names))

    return parse


if __name__ == "__main__":
    sys.exit(main())
