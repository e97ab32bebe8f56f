"""The options that say what to run, shared by all stages: declared once, turned into a RunSpec."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from trunkline.errors import SpecError
from trunkline.locations import Location
from trunkline.specs import ColumnsSpec, RunSpec, TlsSpec, build_spec, load_yaml
from trunkline.store.feature_store import FeatureStore

UNNAMED_STORE = "features/"  # of commands that only say it to be copied
WHAT, TABLES, WHERE, EXTRACTION, HEADS = "What", "Columns of tables", "Where", "Extraction", "Filter and heads"


@dataclass(frozen=True)
class Option:
    """One option: its type, its panel in the help, and its place in the spec, whose description is its help."""

    type: Any
    panel: str
    place: tuple[str, ...]
    default: Any = None  # where a command has another than the spec

    @property
    def annotation(self) -> Any:
        return Annotated[self.type | None, typer.Option(help=self._help(), rich_help_panel=self.panel, show_default=False)]

    def _help(self) -> str:
        model: Any = RunSpec
        for key in self.place[:-1]:
            model = model.model_fields[key].annotation
        field = model.model_fields[self.place[-1]]
        default = self.default or field.default
        if default in (None, ()) or field.is_required():
            return str(field.description)
        if isinstance(default, tuple):
            default = ", ".join(each if isinstance(each, str) else each.kind for each in default)
        return f"{field.description} [dim]\\[default: {default}][/dim]"


CLUSTER_OPTIONS: Mapping[str, Option] = {
    "cluster": Option(str, WHERE, ("cluster", "kind")),
    "workers": Option(int, WHERE, ("cluster", "workers")),
    "minimum_workers": Option(int, WHERE, ("cluster", "minimum")),
    "address": Option(str, WHERE, ("cluster", "address")),
    **{f"tls_{name}": Option(str, WHERE, ("cluster", "tls", name)) for name in TlsSpec.model_fields},
    "image": Option(str, WHERE, ("cluster", "kubernetes", "image")),
    "namespace": Option(str, WHERE, ("cluster", "kubernetes", "namespace")),
    "patience": Option(float, WHERE, ("cluster", "patience")),
}
_OPTIONS: Mapping[str, Option] = {
    "source": Option(str, WHAT, ("source",)),
    "store": Option(str, WHAT, ("store",)),
    "dataset": Option(str, WHAT, ("dataset",)),
    "labels": Option(str, WHAT, ("labels",)),
    "source_kind": Option(str, WHAT, ("source_kind",)),
    **{f"{column}_column": Option(str, TABLES, ("columns", column)) for column in ColumnsSpec.model_fields},
    "format": Option(str, WHERE, ("storage", "format")),
    "ignore_free_space": Option(bool, WHERE, ("storage", "ignore_free_space")),
    "compression": Option(str, WHERE, ("storage", "compression")),
    "dtype": Option(str, EXTRACTION, ("storage", "dtype")),
    **CLUSTER_OPTIONS,
    "backbone": Option(str, EXTRACTION, ("backbone",)),
    "layer": Option(list[str], EXTRACTION, ("layers",)),
    "weights": Option(str, EXTRACTION, ("weights",)),
    "pooling": Option(str, EXTRACTION, ("pooling",)),
    "maps": Option(str, EXTRACTION, ("maps",)),
    "precision": Option(str, EXTRACTION, ("precision",)),
    "preset": Option(str, EXTRACTION, ("preparation", "preset")),
    "size": Option(int, EXTRACTION, ("preparation", "size")),
    "fit": Option(str, EXTRACTION, ("preparation", "fit")),
    "kernel": Option(str, EXTRACTION, ("preparation", "kernel")),
    "antialias": Option(bool, EXTRACTION, ("preparation", "antialias")),
    "exif": Option(str, EXTRACTION, ("preparation", "exif")),
    "decode": Option(str, EXTRACTION, ("preparation", "decode")),
    "batch": Option(int, EXTRACTION, ("engine", "batch")),
    "runtime": Option(str, EXTRACTION, ("runtime",)),
    "max_bad": Option(float, EXTRACTION, ("max_bad_fraction",)),
    "max_removed": Option(float, EXTRACTION, ("max_removed_fraction",)),
    "threshold": Option(float, HEADS, ("select", "threshold")),
    "quantile": Option(float, HEADS, ("select", "quantile")),
    "min_active": Option(float, HEADS, ("select", "min_active")),
    "duplicates": Option(float, HEADS, ("select", "duplicates")),
    "drift_warning": Option(float, HEADS, ("drift_warning",)),
    "head": Option(list[str], HEADS, ("heads",)),
    "seed": Option(int, HEADS, ("seed",)),
}
_SPEC_FILE = Annotated[
    str | None, typer.Argument(metavar="[SPEC.YAML]", help="A spec; `trunkline init` writes one. Options override it.")
]


def takes_spec(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the spec options; it receives `spec`, a RunSpec, in their place."""
    return _takes(command, _OPTIONS, {})


def takes_spec_without_store(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command some of the spec options; a store is only named, and need not be given."""
    some = {name: _OPTIONS[name] for name in names}
    return lambda command: _takes(command, some, {"store": UNNAMED_STORE})


def _takes(
    command: Callable[..., None], shared_options: Mapping[str, Option], otherwise: Mapping[str, Any]
) -> Callable[..., None]:
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "spec"]

    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        options = {name: given.pop(name) for name in shared_options}
        command(spec=spec_of(given.pop("spec_file"), options, otherwise), **given)

    keyword = inspect.Parameter.KEYWORD_ONLY
    shared = [inspect.Parameter("spec_file", keyword, default=None, annotation=_SPEC_FILE)]
    shared += [
        inspect.Parameter(name, keyword, default=None, annotation=option.annotation) for name, option in shared_options.items()
    ]
    parameters = [*shared, *(p.replace(kind=keyword) for p in own)]
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_options


def spec_of(spec_file: str | None, options: Mapping[str, Any], otherwise: Mapping[str, Any] | None = None) -> RunSpec:
    """The spec file with the options laid over it, and `otherwise` below both. Raises SpecError for what does not validate."""
    content: dict[str, Any] = load_yaml(spec_file).model_dump(mode="json") if spec_file else {}
    laid_over(content, options, _OPTIONS)
    if options.get("threshold") is not None or options.get("quantile") is not None:
        rules = {"threshold", "quantile", "relative_threshold"}
        for other in rules - {name for name in rules if options.get(name) is not None}:
            content["select"].pop(other, None)  # the option says how much variance is enough, instead of the file
    content = {**(otherwise or {}), **content}
    if "store" not in content:
        raise SpecError(
            "Where should features go? Give --store DIR (and --source DIR), or a spec.yaml; `trunkline init` writes one."
        )
    if "source" not in content:
        content |= _bound(content["store"], content.get("dataset"), content.get("columns", {}))
    return build_spec(content, where=spec_file or "The options")


def laid_over(content: dict[str, Any], options: Mapping[str, Any], known: Mapping[str, Option]) -> dict[str, Any]:
    """The content, changed by those of the known options that were given; an address alone is enough to mean a scheduler."""
    for name, option in known.items():
        value = options.get(name)
        if value is not None:
            _put(content, option.place, [{"kind": kind} for kind in value] if name == "head" else value)
    if options.get("address") and not options.get("cluster"):
        _put(content, ("cluster", "kind"), "address")
    return content


def _put(content: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    for key in place[:-1]:
        content = content.setdefault(key, {})
    content[place[-1]] = value


def _bound(store: str, dataset: str | None, columns: dict[str, Any]) -> dict[str, Any]:
    """Source and dataset of a store that knows them already."""
    location = Location.of(store)
    if not (location / "store.json").exists():
        raise SpecError(f"Which images? Give --source DIR: there is no store at {location} yet that would know its source.")
    known = [each for each in FeatureStore.open(location).datasets() if dataset in (None, each.name)]
    if len(known) != 1:
        names = ", ".join(each.name for each in known) or "none"
        raise SpecError(f"Which images? Give --source, or --dataset with one of those in {location}: {names}.")
    said = known[0].source.said()
    given = {role: column for role, column in columns.items() if column is not None}
    found = {"source": said["root"], "source_kind": said["kind"], "dataset": known[0].name}
    return found | ({"columns": said["columns"] | given} if "columns" in said else {})
