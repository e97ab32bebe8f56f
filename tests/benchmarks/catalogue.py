"""Every way that is measured: its key, its name in the table, how it runs, and why it may be unable to."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial

from tests.benchmarks.job import Job, Timing
from tests.benchmarks.paths import keras_user, limits, orchestration, ours, ray_data, tf_data, torch_loader


def always() -> str | None:
    return None


@cache
def needs_bf16() -> str | None:
    """Whether OpenVINO computes bf16 on this processor, or only emulates it."""
    import openvino

    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return None if "BF16" in able else f"this processor has no bf16: OpenVINO lists {', '.join(able)}"


def needs(*modules: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        gone = [module for module in modules if importlib.util.find_spec(module) is None]
        return f"{', '.join(gone)} not installed" if gone else None

    return missing


@dataclass(frozen=True)
class Way:
    """`group`: way, from files to stored features; limit; orchestration, on its own number of images; or preparation."""

    key: str
    title: str
    group: str
    run: Callable[[Job], Timing]
    why_not: Callable[[], str | None] = always


PATHS: Mapping[str, Way] = {
    way.key: way
    for way in (
        Way("compile-f32", "compile f32", "preparation", partial(ours.compile_backbone, precision="f32")),
        Way("compile-bf16", "compile bf16", "preparation", partial(ours.compile_backbone, precision="bf16"), needs_bf16),
        Way("keras", "Keras user path", "way", keras_user.run),
        Way("tf.data", "tf.data, optimised", "way", tf_data.run),
        Way("ours-f32", "ours f32", "way", partial(ours.run, precision="f32")),
        Way("ours-bf16", "ours bf16", "way", partial(ours.run, precision="bf16"), needs_bf16),
        Way("torch", "PyTorch DataLoader", "way", torch_loader.run, needs("torch", "torchvision")),
        Way("ray", "Ray Data", "way", ray_data.run, needs("ray")),
        Way("forward-f32", "forward only, f32", "limit", partial(limits.forward, precision="f32")),
        Way("forward-bf16", "forward only, bf16", "limit", partial(limits.forward, precision="bf16"), needs_bf16),
        Way("decode", "decode only", "limit", limits.decode),
        Way("plain-loop", "plain loop", "orchestration", partial(ours.run, precision="f32", kind="inline")),
        Way("prefect-dask", "Prefect + Dask", "orchestration", orchestration.prefect_and_dask, needs("prefect", "distributed")),
    )
}


def precisions_of(keys: list[str]) -> list[str]:
    """Precisions whose backbone has to be compiled before these ways run."""
    ours_too = {
        "f32": ("ours-f32", "forward-f32", "plain-loop", "prefect-dask"),
        "bf16": ("ours-bf16", "forward-bf16"),
    }
    return [precision for precision, users in ours_too.items() if set(users) & set(keys)]
