"""The feature map behind a pooled feature: found in the compiled network itself, so that nothing is compiled anew.

The compiled network ends in the average of a map, whether a recipe's pooling or a layer of the network's own made it. The graph is
followed back from its output to that average, and what goes into it becomes one more output.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones.compiled import Compiled

Maps = NDArray[np.float32]
SHAPING = {"Reshape", "Squeeze", "Unsqueeze", "Transpose", "Convert"}  # keep all values of a vector, in their order
ROUNDING = 1e-3  # of the largest feature: how far the mean of a map may be from what the network's own average gave


class PooledMaps:
    """A compiled network, on OpenVINO in float32, that gives a layer's vector and the map it is the average of."""

    def __init__(self, network: Any, compiled: Compiled, layer: str, axes: tuple[int, ...], threads: int) -> None:
        import openvino

        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
        }
        loaded = openvino.Core().compile_model(network, "CPU", settings)
        self._vector, self._map = loaded.output(layer), loaded.outputs[-1]
        self._request = loaded.create_infer_request()
        self._axes, self._batch, self._pixels = axes, compiled.batch, compiled.pixels

    def run(self, pixels: NDArray[Any]) -> tuple[Maps, Maps] | None:
        """Maps and vectors of images.

        Parameters
        ----------
        pixels : (n, size, size, 3) of the network's dtype.

        Returns
        -------
        (n, height, width, channels) and (n, channels) float32; None where the vectors are not the means of the maps.
        """
        maps, vectors = [], []
        for first in range(0, len(pixels), self._batch):
            some = pixels[first : first + self._batch]
            batch = np.zeros((self._batch, *pixels.shape[1:]), self._pixels)
            batch[: len(some)] = some
            outputs = self._request.infer([batch], share_inputs=True)
            vectors.append(np.array(outputs[self._vector], np.float32)[: len(some)])
            maps.append(np.moveaxis(np.array(outputs[self._map], np.float32), self._axes, (1, 2))[: len(some)])
        found, features = np.concatenate(maps), np.concatenate(vectors)
        return (found, features) if _is_mean(found, features) else None


def _is_mean(maps: Maps, vectors: Maps) -> bool:
    means = maps.mean(axis=(1, 2), dtype=np.float64)
    return means.shape == vectors.shape and bool(np.abs(means - vectors).max() <= ROUNDING * max(np.abs(vectors).max(), 1e-6))


def pooled_maps(compiled: Compiled, layer: str, threads: int) -> PooledMaps | None:
    """The map behind a layer; None where the layer is not the average of one. The last one is kept in memory.

    Raises
    ------
    CorruptStore : a file of the compiled network is damaged.
    """
    return _opened(_ByContent(compiled), layer, threads)


class _ByContent:
    """A compiled network, the same as another one with the same files wherever they lie."""

    def __init__(self, compiled: Compiled) -> None:
        self.compiled = compiled

    def __hash__(self) -> int:
        return hash(self.compiled.files)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByContent) and other.compiled.files == self.compiled.files


@lru_cache(maxsize=1)
def _opened(held: _ByContent, layer: str, threads: int) -> PooledMaps | None:
    import openvino

    compiled = held.compiled
    network = openvino.Core().read_model(compiled.file("model.xml"), compiled.file("model.bin"))
    node, axes = network.output(layer).get_node(), None
    while _shapes_only(node) or ((axes := _averaged(node)) and _is_one_pixel(node, axes)):
        node = node.input_value(0).get_node()
    if axes is None:
        return None
    network.add_outputs([node.input_value(0)])
    return PooledMaps(network, compiled, layer, axes, threads)


def _shapes_only(node: Any) -> bool:
    return node.get_type_name() == "Result" or node.get_type_name() in SHAPING


def _is_one_pixel(node: Any, axes: tuple[int, ...]) -> bool:
    """Whether what is averaged was averaged before."""
    return all(node.get_input_shape(0)[axis] == 1 for axis in axes)


def _averaged(node: Any) -> tuple[int, ...] | None:
    """The two axes of a map that a node averages, height first; None where it does something else."""
    if node.get_input_size() == 0 or not node.get_input_partial_shape(0).is_static or len(node.get_input_shape(0)) != 4:
        return None
    match node.get_type_name():
        case "ReduceMean":
            numbers = node.input_value(1).get_node()
            if numbers.get_type_name() != "Constant":
                return (2, 3)  # of ONNX's GlobalAveragePool they are computed: all after the channels
            axes = tuple(sorted(int(each) % 4 for each in np.ravel(numbers.get_data())))
            return axes if axes in ((1, 2), (2, 3)) else None
        case "AvgPool":
            return (2, 3) if tuple(node.get_output_shape(0))[2:] == (1, 1) else None
    return None
