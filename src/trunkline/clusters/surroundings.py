"""What a process has for the work it is to do: versions, store, source, backbone, GPU, disk. A worker looks at itself."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from trunkline import environment
from trunkline.backbones.compiled import Compiled
from trunkline.errors import TrunklineError
from trunkline.locations import Location
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import Dataset
from trunkline.store.lease import Lease, latest
from trunkline.wording import in_bytes

DECIDING = environment.DECODERS  # other versions give other features
BESIDE = ("scipy", "scikit-learn", "xgboost", "zarr", "h5py", "pyarrow", "fsspec", "s3fs", "dask", "distributed")  # they do not
SCRATCH_BYTES = 512 * 2**20  # a Keras file of a large backbone while it is loaded, and what Dask puts down for a moment
LOOK_SECONDS = 120.0  # for TensorFlow to be imported, and a slow bucket to answer


@dataclass(frozen=True)
class Needs:
    """What the work asks of every process.

    Parameters
    ----------
    runtime : the package whose version decides features too, and which has to be there.
    features, lease : the feature set that is written, and the lease under which it is: who sees the lease sees the same disk.
    backbone : whose files are loaded.
    dataset : whose source has to be there, where it is local; None for one on a network.
    gpu : whether TensorFlow has to see one.
    scratch : bytes that have to be free where temporary files go.
    """

    runtime: str | None = None
    features: Location | None = None
    lease: Lease | None = None
    backbone: Compiled | None = None
    dataset: Location | None = None
    gpu: bool = False
    scratch: int = 0


@dataclass(frozen=True)
class Surroundings:
    """What a process said of itself; `troubles` in words, empty where it can do the work."""

    host: str
    pid: int
    cores: int
    deciding: Mapping[str, str]
    beside: Mapping[str, str]
    troubles: tuple[str, ...] = ()


def look(needs: Needs) -> Surroundings:
    """Of this process."""
    said = environment.fingerprint()
    python = platform.python_version()
    ours = environment.installed(["trunkline"])["trunkline"]
    runtime = [needs.runtime] if needs.runtime else []
    return Surroundings(
        host=socket.gethostname(),
        pid=os.getpid(),
        cores=len(os.sched_getaffinity(0)),
        deciding={
            "trunkline": f"{ours} (source {environment.source_digest()})",
            "Python": python.rpartition(".")[0],
            **environment.installed([*DECIDING, *runtime]),
        },
        beside={
            "Python": python,
            "processor": f"{said['machine']} {said['processor']}, flags {said['cpu_flags']}",
            **environment.installed(BESIDE),
        },
        troubles=tuple(_troubles(needs)),
    )


async def look_aside(needs: Needs) -> Surroundings:
    """The same in a thread, so that a worker goes on talking to its scheduler; a look that takes too long is a trouble too."""
    try:
        return await asyncio.wait_for(asyncio.to_thread(look, needs), LOOK_SECONDS)
    except TimeoutError:
        trouble = f"store, source or GPU did not answer within {LOOK_SECONDS:.0f} s"
    except Exception as error:  # a worker that cannot even look is one that must not work
        trouble = f"cannot look at itself ({type(error).__name__}: {error})"
    return Surroundings(socket.gethostname(), os.getpid(), 1, {}, {}, (trouble,))


def _troubles(needs: Needs) -> Iterator[str]:
    checks: tuple[Callable[[Needs], str | None], ...] = (_store, _backbone, _source, _gpu, _disk)
    for check in checks:
        try:
            found = check(needs)
        except (TrunklineError, OSError) as error:
            found = str(error)
        if found:
            yield found


def _store(needs: Needs) -> str | None:
    if needs.features is None:
        return None
    FeatureSet.open(needs.features)
    if needs.lease is None:
        return None
    seen = latest(needs.lease.folder)
    if seen is not None and seen.token == needs.lease.token:
        return None
    return f"sees another {needs.features} than this run: the lease that the run has just taken is not in it. Is it a disk of its own?"


def _backbone(needs: Needs) -> str | None:
    if needs.backbone is None:
        return None
    place = needs.backbone.location / needs.backbone.files
    missing = [name for name in needs.backbone.sha256 if not (place / name).exists()]
    return f"does not see {', '.join(missing)} of the compiled backbone in {place}" if missing else None


def _source(needs: Needs) -> str | None:
    if needs.dataset is not None:
        Dataset(needs.dataset).source.check()
    return None


def _gpu(needs: Needs) -> str | None:
    if not needs.gpu:
        return None
    from trunkline.runtimes.tensorflow import name_of_gpu

    if name_of_gpu():
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
    return f"TensorFlow sees no GPU (CUDA_VISIBLE_DEVICES is {visible}): is a driver there, and was tensorflow[and-cuda] installed?"


def _disk(needs: Needs) -> str | None:
    place = tempfile.gettempdir()
    free = shutil.disk_usage(place).free
    if free >= needs.scratch:
        return None
    return (
        f"has {in_bytes(free)} free in {place}, where temporary files go, and needs {in_bytes(needs.scratch)}: make room, or set TMPDIR to "
        "another disk for the worker"
    )
