"""What executes a backbone on a worker: OpenVINO on a CPU, TensorFlow as the reference and on a GPU."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones.compiled import Compiled
from trunkline.backbones.golden import check, golden_pixels, in_batches
from trunkline.errors import SpecError


class Runtime(Protocol):
    """One loaded backbone; callers take turns."""

    def run(self, pixels: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        """(batch, size, size, 3) pixels → layer: (batch, dim) float32; each row depends on its own image alone."""

    def fingerprint(self) -> dict[str, str]:
        """Versions and settings that decide the last bits of its results."""


Layers = Sequence[str] | None


def _openvino(compiled: Compiled, threads: int, layers: Layers = None) -> Runtime:
    from trunkline.runtimes.openvino import OpenVinoRuntime

    return OpenVinoRuntime(compiled, threads, layers)


def _tensorflow(compiled: Compiled, threads: int, layers: Layers = None) -> Runtime:
    from trunkline.runtimes.tensorflow import TensorFlowRuntime

    return TensorFlowRuntime(compiled, threads, layers)


RUNTIMES: Mapping[str, Callable[..., Runtime]] = {"openvino": _openvino, "tensorflow": _tensorflow}

_loaded: dict[tuple[str, str, str], Runtime] = {}
_loading = threading.Lock()


def refuse_what_cannot_run(name: str, compiled: Compiled) -> None:
    """Raises SpecError for a runtime that there is not, or that cannot execute this network in its precision on this machine."""
    if name not in RUNTIMES:
        raise SpecError(f"There is no runtime {name!r}; there are: {', '.join(RUNTIMES)}.")
    if name == "tensorflow" and not compiled.runs_on_tensorflow:
        raise SpecError("An ONNX network runs on openvino only; leave runtime out, or choose a cluster of CPU workers.")
    if name == "openvino" and compiled.precision == "bf16":
        from trunkline.runtimes.openvino import refuse_bf16_elsewhere

        refuse_bf16_elsewhere()


def load(name: str, compiled: Compiled, threads: int) -> Runtime:
    """The runtime of this process for a compiled backbone: loaded and checked against the golden vectors once, then kept.

    Raises
    ------
    GoldenMismatch : it does not compute what the reference computed.
    SpecError : no such runtime, or not for this network or in this precision on this machine.
    """
    return load_each([(name, compiled)], threads)[0]


def load_each(wanted: Sequence[tuple[str, Compiled]], threads: int) -> list[Runtime]:
    """The runtimes for these backbones, as `load` gives each; others that were loaded are dropped, so memory holds these alone."""
    for name, compiled in wanted:
        refuse_what_cannot_run(name, compiled)
    with _loading:
        keys = [(name, compiled.location.uri, compiled.precision) for name, compiled in wanted]
        for other in _loaded.keys() - set(keys):
            del _loaded[other]
        for key, (name, compiled) in zip(keys, wanted, strict=True):
            if key not in _loaded:
                _loaded[key] = _checked(name, compiled, threads)
        return [_loaded[key] for key in keys]


def cut_at(name: str, compiled: Compiled, threads: int, layer: str) -> Runtime:
    """The network up to one of its layers and no further; it is not compared with the golden vectors, and not kept."""
    return RUNTIMES[name](compiled, threads, (layer,))


def _checked(name: str, compiled: Compiled, threads: int) -> Runtime:
    runtime = RUNTIMES[name](compiled, threads)
    pixels = golden_pixels(compiled.size, compiled.batch).astype(compiled.pixels)
    computed = in_batches(runtime.run, pixels, compiled.batch)
    check(computed, compiled.golden(), f"{compiled.location} on {name}", compiled.precision)
    return runtime
