"""Real images that a predictor is proven on: committed rows whose bytes are still as they were."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline import images
from trunkline.backbones.compiled import Compiled
from trunkline.errors import DataError, RunError, UnreadableImage
from trunkline.heads.opening import OpenHead
from trunkline.predictor.proof import Proof, compared
from trunkline.reader import Features
from trunkline.specs import Recipe

PROVEN = 200  # images, at most
PIXEL_BYTES = 256 * 2**20  # of them together
PREPARED = 20  # images that the script is tried on


@dataclass(frozen=True, eq=False)
class Samples:
    """Committed rows whose images are still as they were: bytes of a few, pixels of all, and what the pipeline answers."""

    rows: NDArray[np.int64]
    contents: Sequence[tuple[str, bytes]]
    pixels: NDArray[Any]
    answers: NDArray[np.float64]


def samples_of(features: Features, head: OpenHead, compiled: Compiled) -> Samples:
    """Test rows at random, or any where there are no test rows."""
    splits = features.snapshot.codes("split")[1]
    rows = features.rows("test") if "test" in splits else features.rows()
    most = max(1, min(PROVEN, PIXEL_BYTES // (3 * compiled.size**2 * np.dtype(compiled.pixels).itemsize)))
    drawn = np.sort(np.random.default_rng(0).permutation(rows)[: 2 * most])  # some of them may be gone
    kept: list[int] = []
    contents: list[tuple[str, bytes]] = []
    pixels: list[NDArray[Any]] = []
    listed = features.snapshot.listed(drawn).to_pylist()
    digests = features.snapshot.table(drawn, ("sha256",))["sha256"].to_pylist()
    source = features.dataset.source
    for row, said, sha256 in zip(drawn.tolist(), listed, digests, strict=True):
        with contextlib.suppress(UnreadableImage):
            content, _ = source.fetch(said["id"], said["place"])
            if hashlib.sha256(content).hexdigest() == sha256 and len(kept) < most:
                pixels.append(images.load(content, features.recipe))
                kept.append(row)
                contents += [(said["id"], content)] if len(contents) < PREPARED else []
    if not kept:
        raise DataError(
            f"Not one of {len(drawn)} committed images of {features.dataset.name} is still in the source as it was, so nothing can prove "
            "the export. Is the disk or bucket mounted?"
        )
    rows = np.array(kept, np.int64)
    stored = np.asarray(features.read(rows, head.layer, head.columns), np.float32)
    return Samples(rows, contents, np.stack(pixels), head.fitted.outputs(stored))


def script_proof(script: Path, head: OpenHead, samples: Samples) -> Proof:
    """What prepare.py says of the images' own bytes."""
    with tempfile.TemporaryDirectory(prefix="trunkline-images-") as temporary:
        paths = []
        for number, (image_id, content) in enumerate(samples.contents):
            path = Path(temporary, f"{number:03d}{Path(image_id).suffix}")
            path.write_bytes(content)
            paths.append(path)
        command = [sys.executable, str(script), "--json", *map(str, paths)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, cwd=temporary)
    if ended.returncode:
        raise RunError(f"{script.name} failed on {len(paths)} images: {ended.stderr.strip()[-1000:]} Nothing was exported.")
    said = [json.loads(line)["answers"] for line in ended.stdout.splitlines()]
    answers = np.array([[each[name] for name in head.target.names] for each in said])
    return compared(head.target, samples.answers[: len(answers)], answers)


def is_exact(recipe: Recipe) -> bool:
    """Whether prepare.py gives the pipeline's pixels, so that it has to give its answers."""
    return recipe.decoder == images.DECODER and recipe.decode == "exact"
