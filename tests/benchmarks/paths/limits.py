"""The two limits: the network alone on decoded pixels, and decoding alone. No pipeline beats 1 / (1/forward + 1/decode)."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.job import Job, Timing
from tests.benchmarks.paths.ours import compiled_backbone, spec_of

FORWARD_IMAGES = 512
FILES_A_TASK = 8


def decode(job: Job) -> Timing:
    """Reading, decoding and resizing every file as an extraction does, on one thread a core. Counted: all of it."""
    from trunkline.backbones.resolution import resolve

    recipe = resolve(spec_of(job))
    files = job.files
    pieces = [files[start : start + FILES_A_TASK] for start in range(0, len(files), FILES_A_TASK)]
    with ThreadPoolExecutor(job.cores) as pool:
        list(pool.map(lambda piece: _decoded(piece, recipe), pieces[: job.cores]))  # threads and libraries are ready
        started = time.perf_counter()
        for _ in pool.map(lambda piece: _decoded(piece, recipe), pieces):
            pass
        seconds = time.perf_counter() - started
    return Timing.same(len(files), seconds)


def forward(job: Job, precision: str) -> Timing:
    """The network alone, the best of three ways to use all cores: trunkline's runtime, and OpenVINO's own queue with one stream
    over all cores or one stream a core. Counted: batches in to features out.
    """
    from trunkline.backbones.resolution import resolve

    backbone = compiled_backbone(job, precision)
    batches = _batches(job, resolve(spec_of(job, precision)), backbone.batch)
    images = len(batches) * len(batches[0])
    seconds = {"runtime": _timed(_by_runtime(backbone, job.cores), batches)}
    for streams in sorted({1, job.cores}):
        name = f"{streams} stream{'s' * (streams > 1)} on {job.cores} core{'s' * (job.cores > 1)}"
        seconds[name] = _timed(_by_queue(backbone, precision, streams, job.cores), batches)
    best = min(seconds, key=seconds.__getitem__)
    rates = {name: round(images / value, 1) for name, value in seconds.items()}
    return Timing.same(images, seconds[best], best=best, images_per_second=rates)


def _decoded(files: list[str], recipe: Any) -> list[NDArray[Any]]:
    from trunkline import images

    return [images.load(Path(file).read_bytes(), recipe) for file in files]


def _batches(job: Job, recipe: Any, size: int) -> list[NDArray[Any]]:
    """Whole batches of decoded pixels; the files are taken again where they are too few."""
    files = job.files
    count = -(-min(len(files), FORWARD_IMAGES) // size) * size
    pixels = np.stack(_decoded(files[:count], recipe))
    return list(pixels[np.arange(count) % len(pixels)].reshape(-1, size, *pixels.shape[1:]))


def _timed(run: Callable[[list[NDArray[Any]]], None], batches: list[NDArray[Any]]) -> float:
    run(batches[:2])  # memory is allocated, kernels are chosen
    started = time.perf_counter()
    run(batches)
    return time.perf_counter() - started


def _by_runtime(backbone: Any, threads: int) -> Callable[[list[NDArray[Any]]], None]:
    from trunkline import runtimes

    runtime = runtimes.load("openvino", backbone, threads)

    def run(batches: list[NDArray[Any]]) -> None:
        for batch in batches:
            runtime.run(batch)

    return run


def _by_queue(backbone: Any, precision: str, streams: int, threads: int) -> Callable[[list[NDArray[Any]]], None]:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": threads}
    network = core.read_model(backbone.file("model.xml"), backbone.file("model.bin"))
    queue = openvino.AsyncInferQueue(core.compile_model(network, "CPU", settings), 2 * streams)

    def run(batches: list[NDArray[Any]]) -> None:
        for batch in batches:
            queue.start_async([batch], share_inputs=True)
        queue.wait_all()

    return run
