"""What executes a backbone on a worker: OpenVINO on a CPU, TensorFlow as the reference and on a GPU."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones.compiled import Compiled
from trunkline.backbones.golden import check, golden_pixels
from trunkline.errors import SpecError


class Runtime(Protocol):
    """One loaded backbone; callers take turns."""

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """(BATCH, size, size, 3) uint8 → layer: (BATCH, dim) float32; each row depends on its own image alone."""

    def fingerprint(self) -> dict[str, str]:
        """Versions and settings that decide the last bits of its results."""


def _openvino(compiled: Compiled, threads: int) -> Runtime:
    from trunkline.runtimes.openvino import OpenVinoRuntime

    return OpenVinoRuntime(compiled, threads)


def _tensorflow(compiled: Compiled, threads: int) -> Runtime:
    from trunkline.runtimes.tensorflow import TensorFlowRuntime

    return TensorFlowRuntime(compiled, threads)


RUNTIMES: Mapping[str, Callable[[Compiled, int], Runtime]] = {"openvino": _openvino, "tensorflow": _tensorflow}

_loaded: dict[tuple[str, str], Runtime] = {}
_loading = threading.Lock()


def load(name: str, compiled: Compiled, threads: int) -> Runtime:
    """The runtime of this process for a compiled backbone: loaded and checked against the golden vectors once, then kept.

    Raises
    ------
    GoldenMismatch : it does not compute what the reference computed.
    SpecError : no such runtime.
    """
    if name not in RUNTIMES:
        raise SpecError(f"There is no runtime {name!r}; there are: {', '.join(RUNTIMES)}.")
    with _loading:
        key = (name, compiled.location.uri)
        if key not in _loaded:
            runtime = RUNTIMES[name](compiled, threads)
            check(runtime.run(golden_pixels(compiled.size)), compiled.golden(), f"{compiled.location} on {name}")
            _loaded.clear()  # one backbone at a time in memory
            _loaded[key] = runtime
        return _loaded[key]
