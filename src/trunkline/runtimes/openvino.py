"""OpenVINO on CPU workers, float32."""

from __future__ import annotations

import numpy as np
import openvino
from numpy.typing import NDArray

from trunkline.backbones.compiled import Compiled


class OpenVinoRuntime:
    """One stream over `threads` cores."""

    def __init__(self, compiled: Compiled, threads: int) -> None:
        core = openvino.Core()
        network = core.read_model(compiled.file("model.xml"), compiled.file("model.bin"))
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",  # else it takes bf16 by itself where the processor has it
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # several workers would pin themselves to the same cores
        }
        self._compiled = core.compile_model(network, "CPU", settings)
        self._layers = {layer: self._compiled.output(layer) for layer in compiled.dims}
        self._request = self._compiled.create_infer_request()

    def run(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        outputs = self._request.infer([pixels], share_inputs=True)
        return {layer: np.array(outputs[port], np.float32) for layer, port in self._layers.items()}

    def fingerprint(self) -> dict[str, str]:
        return {"runtime": "openvino", "openvino": openvino.get_version(), "precision": "f32"}
