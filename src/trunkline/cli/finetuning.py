"""`trunkline finetune`: a new head on the frozen backbone, then its last layers; the result is a backbone of one's own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from trunkline.cli import show
from trunkline.cli.app import Json, app, err, out
from trunkline.cli.options import takes_spec
from trunkline.errors import SpecError
from trunkline.metrics.names import in_words
from trunkline.specs import FinetuneSpec, RunSpec, content_of, run_command, validated
from trunkline.stages import finetune as finetuning
from trunkline.stages import scan as scanning
from trunkline.wording import in_time

PANEL = "Fine-tuning"

# option → its type and its place in FinetuneSpec; those that a run has too say that they are of the training
_OPTIONS: Mapping[str, tuple[Any, tuple[str, ...]]] = {
    "--name": (str, ("name",)),
    "--unfreeze": (str, ("unfreeze",)),
    "--widths": (str, ("widths",)),
    "--dropout": (float, ("dropout",)),
    "--head-rate": (float, ("head_rate",)),
    "--head-epochs": (int, ("head_epochs",)),
    "--rate": (float, ("rate",)),
    "--epochs": (int, ("epochs",)),
    "--patience": (int, ("patience",)),
    "--val-fraction": (float, ("val_fraction",)),
    "--class-weight": (str, ("class_weight",)),
    "--flip/--no-flip": (bool, ("augmentation", "flip")),
    "--crop": (float, ("augmentation", "crop")),
    "--colour": (float, ("augmentation", "colour")),
    "--mixup": (float, ("augmentation", "mixup")),
    "--train-batch": (int, ("batch",)),
    "--train-precision": (str, ("precision",)),
    "--train-seed": (int, ("seed",)),
}
_FILE = Annotated[
    str | None, typer.Option("--tune", help="A YAML of these settings; options override it.", rich_help_panel=PANEL)
]


def _takes_tune(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a fine-tuning; it receives `tune`, a FinetuneSpec, in their place."""
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "tune"]

    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        said = {option: given.pop(_parameter(option)) for option in _OPTIONS}
        command(tune=_tune(given.pop("tune_file"), said), **given)

    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [inspect.Parameter("tune_file", keyword, default=None, annotation=_FILE)]
    added += [inspect.Parameter(_parameter(each), keyword, default=None, annotation=_annotation(each)) for each in _OPTIONS]
    with_options.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [*(p.replace(kind=keyword) for p in own), *added]
    )
    return with_options


def _parameter(option: str) -> str:
    return "tune_" + option.split("/")[0].removeprefix("--").replace("-", "_")


def _annotation(option: str) -> Any:
    """The option, with its field's description and default as help."""
    kind, place = _OPTIONS[option]
    model: Any = FinetuneSpec
    for key in place[:-1]:
        model = model.model_fields[key].annotation
    found = model.model_fields[place[-1]]
    default = "" if found.default in (None, ()) else f" [dim]\\[default: {found.default}][/dim]"
    told = typer.Option(option, help=f"{found.description}{default}", rich_help_panel=PANEL, show_default=False)
    return Annotated[kind | None, told]


def _tune(path: str | None, said: Mapping[str, Any]) -> FinetuneSpec:
    """The file with the options laid over it. Raises SpecError for what does not validate."""
    content = content_of(path) if path else {}
    for option, value in said.items():
        if value is None:
            continue
        place, inside = _OPTIONS[option][1], content
        for key in place[:-1]:
            inside = inside.setdefault(key, {})
        inside[place[-1]] = _numbers(value) if option == "--widths" else value
    return validated(FinetuneSpec, content, where=path or "The options")


def _numbers(widths: str) -> list[int]:
    parts = [part for part in widths.replace(",", " ").split() if part]
    if not all(part.isdecimal() for part in parts):
        raise SpecError(f"--widths {widths!r} is no list of numbers. Write it as 32,16,8.")
    return [int(part) for part in parts]


def _drawn(receipt: finetuning.FinetuneReceipt, spec: RunSpec) -> Group:
    metrics, best, images = receipt.metrics, receipt.best, receipt.images
    low, high = metrics.intervals.get("macro_f1", (float("nan"),) * 2) if metrics else (0.0, 0.0)
    rows = [
        ("images", f"{images['training']:,} to learn from, {images['validation']:,} to stop by, {images['test']:,} to test"),
        ("epochs", f"{receipt.epochs['head']} of the new head, {receipt.epochs['layers']} with the last layers unfrozen"),
        ("best epoch", f"{best['epoch']} of {best['phase']}, validation macro-F1 {best['val_macro_f1']:.3f}"),
        *(
            [
                (
                    "macro-F1",
                    f"{in_words(metrics.headline[1], 'macro_f1')} ({low:.3f}–{high:.3f}) on {metrics.rows:,} test images",
                )
            ]
            if metrics
            else []
        ),
        ("time", "it was there (cached)" if receipt.cached else in_time(receipt.seconds)),
    ]
    unbroken = {
        "backbone": receipt.backbone,
        "sha256": receipt.sha256,
        "report": receipt.report,
        "use it": run_command(finetuning.with_the_result(spec, receipt)),
    }
    lines = "\n".join(f"{name:8}  {said}" for name, said in unbroken.items())
    return Group(show.facts(receipt.name, rows), Text(lines, no_wrap=True, overflow="ignore"))


@app.command(help="Adapt a backbone to your classes: a new head first, then its last layers. Every stage takes the result.")
@takes_spec
@_takes_tune
def finetune(spec: RunSpec, tune: FinetuneSpec, as_json: Json = False) -> None:
    with show.progress_on(err) as progress:
        scanning.scan(spec, progress)
        receipt = finetuning.finetune(spec, tune, progress)
    for note in receipt.notes:
        err.print(note, markup=False)
    out(receipt.summary(), as_json, _drawn(receipt, spec))
