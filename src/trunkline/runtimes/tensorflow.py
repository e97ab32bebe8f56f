"""TensorFlow: the reference, and the runtime of GPU workers."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones.compiled import Compiled
from trunkline.backbones.importing import import_keras


class TensorFlowRuntime:
    """The Keras file as one XLA-compiled function of fixed shape, in float32 without TF32, or in the mixed float16 it was saved with."""

    def __init__(self, compiled: Compiled, threads: int, layers: Sequence[str] | None = None) -> None:
        keras = import_keras()
        import tensorflow as tf

        if not tf.config.get_visible_devices("GPU"):
            with contextlib.suppress(RuntimeError):  # TensorFlow was used in this process before; its threads are fixed
                tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.experimental.enable_tensor_float_32_execution(False)
        with contextlib.suppress(RuntimeError):  # likewise
            for gpu in tf.config.list_physical_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, True)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.keras")
            path.write_bytes(compiled.file("model.keras"))
            model = keras.models.load_model(path, safe_mode=True, compile=False)
        if layers is not None:
            model = keras.Model(model.inputs, {layer: model.output[layer] for layer in layers})
        self._version, self._precision = tf.__version__, compiled.precision
        gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.get_visible_devices("GPU")]
        self._device = ", ".join(str(gpu.get("device_name", "GPU")) for gpu in gpus) or "CPU"
        self._function: Any = tf.function(lambda pixels: model(pixels, training=False), jit_compile=True)

    def run(self, pixels: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        return {layer: np.asarray(values, np.float32) for layer, values in self._function(pixels).items()}

    def fingerprint(self) -> dict[str, str]:
        return {"runtime": "tensorflow", "tensorflow": self._version, "precision": self._precision, "device": self._device}
