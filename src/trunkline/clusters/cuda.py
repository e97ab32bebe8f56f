"""One worker a GPU of this machine, by dask-cuda."""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from typing import Any

from trunkline.clusters.settings import quiet_dask, started
from trunkline.errors import ClusterError, SpecError
from trunkline.specs import ClusterSpec

DEVICES = Path("/dev")


def gpus_of_this_machine() -> int:
    """How many NVIDIA GPUs this process may use, without asking a driver: device files, and what CUDA_VISIBLE_DEVICES leaves of them."""
    there = sum(1 for each in DEVICES.glob("nvidia*") if each.name.removeprefix("nvidia").isdigit())
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return there
    named = [each.strip() for each in allowed.split(",")]
    return min(there, next((place for place, each in enumerate(named) if each in ("", "-1")), len(named)))


def has_dask_cuda() -> bool:
    """Whether dask-cuda is installed."""
    return importlib.util.find_spec("dask_cuda") is not None


def refuse_without_dask_cuda() -> None:
    """Raises SpecError where dask-cuda is missing, or does not find CUDA."""
    try:
        importlib.import_module("dask_cuda")
    except ImportError as error:
        raise SpecError(
            f"cluster.kind cuda needs dask-cuda ({error}): pip install 'trunkline[gpu]', on a machine with an NVIDIA GPU."
        ) from error


def cuda_cluster(spec: ClusterSpec) -> Any:
    """A LocalCUDACluster: dask-cuda names each worker's own GPU first, which `runtimes.tensorflow` then takes alone.

    Raises
    ------
    SpecError : dask-cuda is missing.
    ClusterError : fewer GPUs than workers were asked for, or none.
    """
    refuse_without_dask_cuda()
    from dask_cuda import LocalCUDACluster

    quiet_dask()
    there = gpus_of_this_machine()
    most = spec.workers or there
    asked = max(most, spec.minimum or 1)
    if asked > there:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
        raise ClusterError(
            f"cluster.kind cuda has one worker a GPU; {asked} were asked for, and this process sees {there} GPUs (CUDA_VISIBLE_DEVICES is "
            f"{visible}). Ask for fewer with cluster.workers, or use --cluster local, which computes on processors."
        )
    return started(LocalCUDACluster, spec, most)
