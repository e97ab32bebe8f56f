"""How fast a network is when it is cut at a layer: that network is made, and timed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence

from trunkline import runtimes
from trunkline.backbones.golden import golden_pixels
from trunkline.probing.measuring import Prepared, ProbeJob

SECONDS = 0.4  # of batches at each cut
FEWEST = 3  # batches at least, after one to warm up


def forward_speeds(network: Prepared, threads: int, layers: Sequence[str]) -> dict[str, float]:
    """Layer → images a second of the forward pass alone, one cut after another on `threads` cores.

    Of the fastest batch, and at least as many as of any later cut, which holds the earlier one: other work on the machine only slows.

    Parameters
    ----------
    layers : in the network's order.
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
    return no_slower_than_later(found)


def no_slower_than_later(speeds: Mapping[str, float]) -> dict[str, float]:
    """Each the largest of its own and all that come after it."""
    backwards = itertools.accumulate(list(speeds.values())[::-1], max)
    return dict(zip(speeds, list(backwards)[::-1], strict=True))


def speeds_of(job: ProbeJob, number: int) -> dict[str, float]:
    """`forward_speeds` of one of a job's networks at all its cuts, for a worker."""
    network = job.networks[number]
    return forward_speeds(network, job.threads, [layer for layer in network.backbone.dims if layer != network.classifier])
