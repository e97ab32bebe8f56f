"""How fast a network is when it is cut at a layer: that network is made, and timed."""

from __future__ import annotations

import time
from collections.abc import Sequence

from trunkline import runtimes
from trunkline.backbones.golden import golden_pixels
from trunkline.probing.measuring import Prepared, ProbeJob

SECONDS = 0.4  # of batches at each cut
FEWEST = 3  # batches at least, after one to warm up


def forward_speeds(network: Prepared, threads: int, layers: Sequence[str]) -> dict[str, float]:
    """Layer → images a second of the forward pass alone, one cut after another on `threads` cores.

    Of the fastest batch: other work on the machine only slows, and not every cut alike.
    """
    pixels = golden_pixels(network.backbone.size, network.backbone.batch)[: network.backbone.batch].astype(
        network.backbone.pixels
    )
    found = {}
    for layer in layers:
        runtime = runtimes.cut_at(network.runtime, network.backbone, threads, layer)
        runtime.run(pixels)
        seconds: list[float] = []
        while len(seconds) < FEWEST or sum(seconds) < SECONDS:
            started = time.perf_counter()
            runtime.run(pixels)
            seconds.append(time.perf_counter() - started)
        found[layer] = len(pixels) / min(seconds)
    return found


def speeds_of(job: ProbeJob, number: int) -> dict[str, float]:
    """`forward_speeds` of one of a job's networks at all its cuts, for a worker."""
    network = job.networks[number]
    return forward_speeds(network, job.threads, [layer for layer in network.backbone.dims if layer != network.classifier])
