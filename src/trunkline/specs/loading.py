"""From YAML or options to a RunSpec; what does not validate is said in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from trunkline.errors import SpecError, did_you_mean
from trunkline.specs.base import Spec
from trunkline.specs.run import RunSpec

Kind = TypeVar("Kind", bound=Spec)


def load_yaml(path: str) -> RunSpec:
    """Read a spec.yaml. Raises SpecError that names the key, its value and the near ones."""
    return build_spec(content_of(path), where=path)


def content_of(path: str) -> dict[str, Any]:
    """The keys and values of a YAML file, which are not validated yet. Raises SpecError where it is none."""
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"Cannot read the spec {path}: {error.strerror}. `trunkline init` writes one to start from.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"The spec {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise SpecError(f"The spec {path} holds no mapping of keys to values. `trunkline init` writes one to start from.")
    return content


def build_spec(content: dict[str, Any], where: str) -> RunSpec:
    """Validate; `where` names the origin in the error."""
    return validated(RunSpec, content, where)


def validated(kind: type[Kind], content: dict[str, Any], where: str) -> Kind:
    """A spec of this kind. Raises SpecError that names each wrong key, its value and what is wrong; `where` names the origin."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise SpecError(f"{where}: " + "; ".join(_in_words(dict(problem), kind) for problem in error.errors())) from error


def _in_words(problem: dict[str, Any], kind: type[Spec]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}.{did_you_mean(str(problem['loc'][-1]), _known_keys(kind))}"
    if problem["type"] == "missing":
        return f"{key!r} is missing; it has no default"
    if not key:  # two settings that do not go together
        return str(problem["msg"]).removeprefix("Value error, ")
    given = problem.get("input")
    if problem["type"] == "value_error" and isinstance(given, dict | BaseModel):  # settings of one part that do not go together
        return f"{key!r}: {problem['msg'].removeprefix('Value error, ')}"
    return f"{key!r} is {given!r}: {problem['msg'].removeprefix('Value error, ').lower()}"


def _known_keys(kind: Any) -> set[str]:
    """The keys of a spec and of all its parts; of any other annotation, of the specs in it."""
    if not (isinstance(kind, type) and issubclass(kind, Spec)):
        return {name for inner in get_args(kind) for name in _known_keys(inner)}
    below = (_known_keys(field.annotation) for field in kind.model_fields.values())
    return set(kind.model_fields).union(*below)
