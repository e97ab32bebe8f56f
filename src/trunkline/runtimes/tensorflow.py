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

        if not on_one_gpu(tf):
            with contextlib.suppress(RuntimeError):  # TensorFlow was used in this process before; its threads are fixed
                tf.config.threading.set_intra_op_parallelism_threads(threads)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.keras")
            path.write_bytes(compiled.file("model.keras"))
            model = keras.models.load_model(path, safe_mode=True, compile=False)
        if layers is not None:
            model = keras.Model(model.inputs, {layer: model.output[layer] for layer in layers})
        self._version, self._precision = tf.__version__, compiled.precision
        self._device = _name_of(tf) or "CPU"
        self._function: Any = tf.function(lambda pixels: model(pixels, training=False), jit_compile=True)

    def run(self, pixels: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        return {layer: np.asarray(values, np.float32) for layer, values in self._function(pixels).items()}

    def fingerprint(self) -> dict[str, str]:
        return {"runtime": "tensorflow", "tensorflow": self._version, "precision": self._precision, "device": self._device}


def on_one_gpu(tf: Any) -> bool:
    """Before TensorFlow's first use in this process: its GPU alone, memory taken as it is needed, float32 without TF32.

    Its GPU is the first one that CUDA_VISIBLE_DEVICES names. dask-cuda names all of them to every worker, each time in another order,
    and TensorFlow would take memory on each. The answer is whether there is one.
    """
    tf.config.experimental.enable_tensor_float_32_execution(False)
    mine = tf.config.list_physical_devices("GPU")[:1]
    with contextlib.suppress(RuntimeError):  # TensorFlow was used in this process before; its devices are fixed
        tf.config.set_visible_devices(mine, "GPU")
        for gpu in mine:
            tf.config.experimental.set_memory_growth(gpu, True)
    return bool(mine)


def name_of_gpu() -> str:
    """The GPU that this process computes on; empty where TensorFlow sees none."""
    import_keras()
    import tensorflow as tf

    on_one_gpu(tf)
    return _name_of(tf)


def _name_of(tf: Any) -> str:
    gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.get_visible_devices("GPU")]
    return ", ".join(str(gpu.get("device_name", "GPU")) for gpu in gpus)
