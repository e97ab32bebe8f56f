"""`make demo`: the pipeline on scikit-learn's handwritten digits and three broken files, with a temporary Prefect server.

python -m flows.demo [FOLDER]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "true")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")

from rich.console import Console

BROKEN = {
    "3/zero-bytes.png": b"",
    "5/an-html-page.jpg": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
}


def write_digits(folder: Path) -> None:
    """1,797 digits as 8x8 PNGs in ten class folders, and three files that cannot be read. What is there is left alone."""
    last = folder / "7/truncated.png"
    if last.exists():
        return
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (values, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = folder / str(digit) / f"digit-{number:04d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((values * 255 / 16).round().astype("uint8")).save(place)
    for name, content in BROKEN.items():
        (folder / name).write_bytes(content)
    whole = (folder / "0/digit-0000.png").read_bytes()
    last.write_bytes(whole[: len(whole) // 2])


def main() -> None:
    """Write the digits, run the flow, print what was done."""
    # imported here: Prefect reads its settings when it is imported, and worker processes import this file without needing it

    from flows.pipeline import pipeline
    from trunkline.cli.show import summary_table
    from trunkline.errors import TrunklineError
    from trunkline.specs import ClusterSpec, RunSpec

    console = Console()
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "demo").absolute()
    write_digits(root / "digits")
    spec = RunSpec(source=str(root / "digits"), store=str(root / "store"), cluster=ClusterSpec(kind="local"))
    try:
        receipt = pipeline(spec)
    except TrunklineError as error:
        console.print(f"Error: {error}", markup=False, highlight=False)
        sys.exit(error.exit_code)
    console.print(summary_table(receipt.summary()), crop=False)


if __name__ == "__main__":
    main()
