"""A run as a command to copy."""

from __future__ import annotations

import shlex

from trunkline.specs.run import RunSpec

SAID = ("dataset", "source_kind", "labels", "weights", "runtime")  # options of the same name


def run_command(spec: RunSpec, own_size: int | None = None) -> str:
    """`trunkline run …` with what of source, backbone, cut and preparation is not the default, quoted for a shell.

    Parameters
    ----------
    own_size : input side of the backbone itself, in pixels, which needs no saying.
    """
    words = ["trunkline", "run", "--source", spec.source, "--store", spec.store]
    default = type(spec).model_fields
    for name in SAID:
        if (value := getattr(spec, name)) != default[name].default:
            words += [f"--{name.replace('_', '-')}", str(value)]
    for column, value in spec.columns.model_dump(exclude_none=True).items():
        words += [f"--{column}-column", value]
    words += ["--backbone", spec.backbone]
    for layer in spec.layers:
        words += ["--layer", layer]
    if spec.preparation.size not in (None, own_size):
        words += ["--size", str(spec.preparation.size)]
    if spec.pooling != default["pooling"].default:
        words += ["--pooling", spec.pooling]
    for name, value in spec.preparation.model_dump(exclude_defaults=True, exclude={"size"}).items():
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return shlex.join(words)
