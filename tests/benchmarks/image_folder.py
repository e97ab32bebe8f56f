"""The files that every way reads: the same, in class folders, and already in the page cache."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

CLASSES = 10
SUFFIXES = (".jpg", ".jpeg")


def jpegs_below(folder: Path) -> list[Path]:
    """Every JPEG at any depth, in order of names."""
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())


def spread(files: list[Path], folder: Path, count: int) -> Path:
    """`count` files under distinct names in ten class folders; where there are fewer they are taken again and again."""
    for number in range(count):
        file = files[number % len(files)]
        place = folder / f"class-{number % CLASSES}" / f"{number:07d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file.resolve(), place)
        except OSError:  # another disk
            shutil.copyfile(file, place)
    return folder


def read_all(folder: Path) -> int:
    """Read every file once, so that none is read from a cold disk; their bytes in all."""
    return sum(len(file.read_bytes()) for file in folder.glob("*/*"))
