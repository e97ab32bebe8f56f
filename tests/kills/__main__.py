"""Kill runs, at least sixty times, and print the table: `python -m tests.kills [--seed N] [--rounds N] [--format zarr …]`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.digits import write_digits
from tests.kills import made
from tests.kills.campaign import FORMATS, aims, series, table
from tests.kills.series import Kill, Target
from tests.s3 import only, served
from trunkline.backbones.compilation import Order
from trunkline.backbones.compiled import compiled
from trunkline.backbones.resolution import order_of
from trunkline.locations import Location
from trunkline.specs import RunSpec

IMAGES = 300
TARGETS: tuple[Target, ...] = ("driver", "worker", "scheduler")


def main(words: Sequence[str]) -> int:
    """Exit code 0 where every series ended as if nothing had happened."""
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument(
        "--rounds", type=int, default=1, help="series of drivers and schedulers on each format; of workers twice as many"
    )
    parser.add_argument("--format", choices=FORMATS, nargs="+", default=FORMATS)
    parser.add_argument("--at-once", type=int, default=1, help="series side by side")
    chosen = parser.parse_args(words)
    say(f"seed {chosen.seed}")
    scratch = tempfile.TemporaryDirectory(prefix="trunkline-kills-")
    with scratch as folder, pytest.MonkeyPatch.context() as environment, served() as endpoint:
        only(endpoint, environment)
        kills, failed = _campaign(Path(folder), chosen)
    say("\n".join(table(kills)))
    return 1 if failed else 0


def _campaign(folder: Path, chosen: argparse.Namespace) -> tuple[list[Kill], int]:
    backbone = folder / "backbone"
    compiled(Location.of(backbone), _order())
    source = made.images(folder / "images", write_digits(folder / "digits", IMAGES), IMAGES)
    undisturbed = made.undisturbed(folder / "undisturbed", source, backbone)
    plan = [
        (kind, target, number)
        for target in TARGETS
        for number in range(chosen.rounds * (2 if target == "worker" else 1))
        for kind in chosen.format
    ]

    def one(kind: str, target: Target, number: int) -> list[Kill] | None:
        started = time.monotonic()
        name = f"{kind}-{target}-{number}"
        each = series(kind, target, number, chosen.seed, folder / name, source, backbone, undisturbed)
        try:
            found = each.suffers(aims(target))
        except Exception as error:  # the others go on
            say(f"{name}: NOT as if nothing had happened, after {each.kills}\n{error}")
            return None
        say(f"{name}: {len(found)} kills, as if nothing had happened ({time.monotonic() - started:.0f} s)", *found)
        return found

    with ThreadPoolExecutor(chosen.at_once) as threads:
        ended = list(threads.map(lambda each: one(*each), plan))
    return [kill for some in ended if some for kill in some], ended.count(None)


def say(*words: object) -> None:
    """Lines as they come, also into a file."""
    sys.stdout.write("\n".join(map(str, words)) + "\n")
    sys.stdout.flush()


def _order() -> Order:
    return order_of(RunSpec(source="/nowhere", store="/nowhere"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
