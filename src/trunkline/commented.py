"""The commented spec.yaml that `trunkline init` writes: every key, its default and what it means, read off the models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from trunkline.specs import ForestSpec, RunSpec, SoftmaxSpec

HEADER = """\
# What trunkline is to do: `trunkline run spec.yaml`.
# Every key but source and store may be left out; the values here are the defaults.
"""


def commented_spec(source: str, store: str) -> str:
    """YAML text that `load_yaml` reads back to RunSpec(source=source, store=store)."""
    spec = RunSpec(source=source, store=store)
    return HEADER + "\n".join(_lines(spec, "")) + "\n"


def _lines(model: BaseModel, indent: str) -> Iterator[str]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if field.description:
            yield f"{indent}# {field.description}"
        if isinstance(value, BaseModel):
            yield f"{indent}{name}:"
            yield from _lines(value, indent + "  ")
        elif name == "heads":
            yield f"{indent}heads:"
            for head in (SoftmaxSpec(), ForestSpec()):
                first, *rest = _lines(head, "")
                yield from (f"{indent}  - {first}", *(f"{indent}    {line}" for line in rest))
        else:
            yield f"{indent}{name}: {_scalar(value)}"


def _scalar(value: Any) -> str:
    import yaml

    plain = list(value) if isinstance(value, tuple) else value
    return str(yaml.safe_dump(plain, default_flow_style=True, width=10_000, allow_unicode=True)).removesuffix("...\n").strip()
