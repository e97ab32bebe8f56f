"""OpenVINO on CPU workers, in float32, or in bfloat16 where the processor has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from trunkline.backbones.compiled import Compiled
from trunkline.errors import SpecError


class OpenVinoRuntime:
    """One stream over `threads` cores; with `layers`, the network up to these alone."""

    def __init__(self, compiled: Compiled, threads: int, layers: Sequence[str] | None = None) -> None:
        core = openvino.Core()
        network = core.read_model(compiled.file("model.xml"), compiled.file("model.bin"))
        if layers is not None:
            results = [network.output(layer).get_node() for layer in layers]
            network = openvino.Model(results, network.get_parameters())
        settings = {
            "INFERENCE_PRECISION_HINT": compiled.precision,  # else it takes bf16 by itself where the processor has it
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # several workers would pin themselves to the same cores
        }
        self._compiled = core.compile_model(network, "CPU", settings)
        self._precision = compiled.precision
        self._layers = {layer: self._compiled.output(layer) for layer in layers or compiled.dims}
        self._request = self._compiled.create_infer_request()

    def run(self, pixels: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        outputs = self._request.infer([pixels], share_inputs=True)
        return {layer: np.array(outputs[port], np.float32) for layer, port in self._layers.items()}

    def fingerprint(self) -> dict[str, str]:
        return {"runtime": "openvino", "openvino": openvino.get_version(), "precision": self._precision}


def has_bf16() -> bool:
    """Whether this machine's processor computes in bfloat16."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def refuse_bf16_elsewhere() -> None:
    """Raises SpecError where the processor lacks bfloat16."""
    if not has_bf16():
        raise SpecError(
            "precision bf16: this processor has no bfloat16 arithmetic (AVX-512 BF16 or AMX), so it would be slower than f32, not "
            "faster. Use --precision f32, or workers that have it."
        )
