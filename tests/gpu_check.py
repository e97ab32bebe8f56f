"""`make gpu-check`: the proof of the CUDA path on a machine with an NVIDIA GPU. python -m tests.gpu_check [--images N] [--backbone NAME]

The same photos go through the processors and through one GPU worker: features have to agree, and the speeds are told. Then two
workers do the same: on two GPUs where there are two, else both on the one, which they share because memory grows as it is needed.
Exit codes: 0 proven, 1 not as it should be, 2 no GPU here.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.make_images import make_images
from trunkline.backbones.golden import cosines
from trunkline.clusters import Cluster
from trunkline.clusters.cuda import gpus_of_this_machine, refuse_without_dask_cuda
from trunkline.errors import SpecError
from trunkline.reader import open_features
from trunkline.specs import RunSpec
from trunkline.stages.extract import ExtractReceipt, extract
from trunkline.stages.scan import scan

LEAST_COSINE = 0.99999
NO_GPU = 2


@dataclass(frozen=True)
class Way:
    """One extraction: what did it, its features (n, dim) in row order, and images/s from first read to last commit."""

    name: str
    features: NDArray[np.float32]
    images_per_second: float


@dataclass(frozen=True)
class Verdict:
    """A way beside the processors' one: `wrong` says in words why it is not as it should be; empty where it is."""

    name: str
    lowest_cosine: float
    images_per_second: float
    ratio: float
    wrong: str

    def __str__(self) -> str:
        speed = f"{self.images_per_second:,.0f} images/s, {self.ratio:.1f} of the processors'"
        said = f"{self.name}: {speed}, lowest cosine {self.lowest_cosine:.7f}"
        return f"{said}. WRONG: {self.wrong}" if self.wrong else f"{said}. Right."


def compared(reference: Way, other: Way) -> Verdict:
    """Features row by row: the lowest cosine counts; shapes have to be equal and values finite."""
    ratio = other.images_per_second / reference.images_per_second
    wrong, lowest = "", float("nan")
    if reference.features.shape != other.features.shape:
        wrong = f"{other.features.shape} features, and the processors gave {reference.features.shape}"
    elif not np.isfinite(other.features).all():
        wrong = f"{int((~np.isfinite(other.features)).any(axis=1).sum())} rows are not finite"
    else:
        lowest = float(cosines(reference.features, other.features).min())
        if not lowest >= LEAST_COSINE:
            wrong = f"features differ by more than a cosine of {LEAST_COSINE} allows"
    return Verdict(other.name, lowest, other.images_per_second, ratio, wrong)


def why_not() -> str:
    """Why nothing can be proven here; empty where a GPU can be used."""
    if not gpus_of_this_machine():
        return "This machine has no NVIDIA GPU that this process may use (/dev/nvidia*, CUDA_VISIBLE_DEVICES)."
    try:
        refuse_without_dask_cuda()
    except SpecError as error:
        return str(error)
    from trunkline.runtimes.tensorflow import name_of_gpu

    if not name_of_gpu():
        return "TensorFlow sees no GPU: pip install 'tensorflow[and-cuda]', and look whether nvidia-smi answers."
    return ""


def extracted(source: Path, store: Path, backbone: str, name: str, cluster: dict[str, Any], runtime: str) -> Way:
    """A whole extraction into a store of its own."""
    said = {"source": str(source), "store": str(store), "dataset": "photos", "backbone": backbone, "runtime": runtime}
    spec = RunSpec.model_validate({**said, "cluster": cluster})
    scan(spec)
    with Cluster(spec.cluster) as where:
        receipt: ExtractReceipt = extract(spec, where)
    features, _ = open_features(receipt.feature_set).numpy()
    return Way(name, np.asarray(features, np.float32), receipt.images_per_second or float("nan"))


def prove(images: int, backbone: str, folder: Path) -> list[Verdict]:
    """Processors, one GPU worker, two GPU workers."""
    for _ in make_images(folder / "photos", images):
        pass

    def way(name: str, cluster: dict[str, Any], runtime: str) -> Way:
        return extracted(folder / "photos", folder / name.replace(" ", "-"), backbone, name, cluster, runtime)

    gpus = gpus_of_this_machine()
    reference = way("processors", {"kind": "local"}, "openvino")
    one = way("one GPU worker", {"kind": "cuda", "workers": 1}, "tensorflow")
    if gpus > 1:
        two = way("two GPU workers", {"kind": "cuda", "workers": 2}, "tensorflow")
    else:
        two = way("two workers on one GPU", {"kind": "local", "workers": 2}, "tensorflow")
    return [compared(reference, reference), compared(reference, one), compared(reference, two)]


def main(arguments: list[str]) -> int:
    """What is proven goes to stdout."""
    parser = argparse.ArgumentParser(prog="make gpu-check", description=__doc__)
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--folder", type=Path, help="for images and stores; a temporary one by default")
    options = parser.parse_args(arguments)
    reason = why_not()
    if reason:
        _say(f"Not proven: {reason} Nothing was run.")
        return NO_GPU
    with tempfile.TemporaryDirectory(prefix="trunkline-gpu-", dir=options.folder) as folder:
        verdicts = prove(options.images, options.backbone, Path(folder))
    for verdict in verdicts:
        _say(str(verdict))
    wrong = [verdict for verdict in verdicts if verdict.wrong]
    _say("The CUDA path is not as it should be." if wrong else "The CUDA path is proven on this machine.")
    return 1 if wrong else 0


def _say(words: str) -> None:
    sys.stdout.write(words + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
