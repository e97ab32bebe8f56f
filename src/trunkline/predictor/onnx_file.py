"""The ONNX file of a predictor: the features of a backbone, and the head after them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones.onnx_files import import_onnx
from trunkline.errors import BackboneError
from trunkline.heads.opening import OpenHead
from trunkline.predictor.head_graph import append_head, output_of
from trunkline.predictor.onnx_graph import Graph

IMAGES_AT_ONCE = 8


def predictor_onnx(features: bytes, head: OpenHead, metadata: Mapping[str, str], out: Path) -> int:
    """Write the file; its opset.

    Parameters
    ----------
    features : an ONNX model from `pixels` (n, size, size, 3) to `features` (n, dim).
    metadata : into its `metadata_props`.

    Raises
    ------
    BackboneError : a head that has no form in ONNX, or ONNX is not installed.
    """
    onnx = import_onnx()
    graph = Graph.of(onnx.load_model_from_string(features))
    append_head(graph, "features", head)
    model = graph.model(output_of(head), ["images", head.target.outputs], metadata)
    out.write_bytes(model.SerializeToString())
    return graph.opset


def run_onnx(path: Path, pixels: NDArray[Any]) -> NDArray[np.float32]:
    """(n, k) of (n, size, size, 3), by ONNX Runtime on the processor. Raises BackboneError where it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise BackboneError(
            f"Proving the ONNX file needs a package that is not here ({error}): pip install 'trunkline[onnx]'."
        ) from error
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    parts = [session.run(None, {"pixels": pixels[at : at + IMAGES_AT_ONCE]})[0] for at in range(0, len(pixels), IMAGES_AT_ONCE)]
    return np.concatenate(parts)
