"""`trunkline export`: features as one plain file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated

import typer

from trunkline.cli import show
from trunkline.cli.app import Json, app, err, out
from trunkline.errors import SpecError
from trunkline.predictor.proof import Proof
from trunkline.stages import export as exporting
from trunkline.stages.export_predictor import export_predictor
from trunkline.wording import in_bytes

PREDICTOR = "A predictor"


@app.command(
    help="Write features to one file that other tools open: HDF5 (MATLAB, C, Java), Parquet (Spark, DuckDB) or .npy. With --predictor: "
    "backbone, mask and head as one Keras and one ONNX file, proven on real images.",
    short_help="Features as one plain file; or a predictor, from pixels to answers.",
)
def export(
    uri: Annotated[str, typer.Argument(metavar="STORE_OR_FEATURE_SET", help="A feature set, or a store that holds one.")],
    target: Annotated[
        str,
        typer.Argument(
            metavar="OUT", help="The file to write, a path or any URL: .h5, .parquet or .npy; of a predictor a folder."
        ),
    ],
    format_: Annotated[str | None, typer.Option("--format", help="hdf5, parquet or npy; by OUT's suffix otherwise.")] = None,
    split: Annotated[str | None, typer.Option(help="Only of this split.")] = None,
    layer: Annotated[str | None, typer.Option(help="Which array; the first by default.")] = None,
    masked: Annotated[bool, typer.Option("--masked", help="Only the columns that the pinned mask keeps.")] = False,
    rule: Annotated[str | None, typer.Option(help="Whose mask, where there are masks of several rules.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Of this dataset of the store.")] = None,
    predictor: Annotated[
        bool, typer.Option("--predictor", help="Export a fitted head with its backbone.", rich_help_panel=PREDICTOR)
    ] = False,
    head: Annotated[
        str | None, typer.Option(help="Kind or digest of the head; the only one by default.", rich_help_panel=PREDICTOR)
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="The backbone's file, where it came as ONNX.", rich_help_panel=PREDICTOR)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT where it exists.")] = False,
    as_json: Json = False,
) -> None:
    of_features = {"--format": format_, "--split": split, "--layer": layer, "--masked": masked or None, "--rule": rule}
    _refuse(of_features if predictor else {"--head": head, "--backbone": backbone}, predictor)
    if predictor:
        _export_predictor(uri, target, head, dataset, backbone, overwrite, as_json)
        return
    with show.progress_on(err) as progress:
        receipt = exporting.export(
            uri,
            target,
            format_,
            split=split,
            layer=layer,
            masked=masked,
            rule=rule,
            dataset=dataset,
            overwrite=overwrite,
            progress=progress,
        )
    rows = [
        ("features", " x ".join(f"{side:,}" for side in receipt.shape) + f" {receipt.dtype}"),
        ("layer", receipt.layer),
        *([("split", receipt.split)] if receipt.split else []),
        *([("mask", receipt.mask)] if receipt.mask else []),
        *([("index", receipt.index)] if receipt.index else []),
        ("size", f"{in_bytes(receipt.bytes)} as {receipt.format}"),
    ]
    out(asdict(receipt), as_json, show.facts(receipt.out, rows))


def _refuse(given: Mapping[str, object], predictor: bool) -> None:
    wrong = [name for name, value in given.items() if value is not None]
    if wrong:
        belongs = "features, and a predictor has its own" if predictor else "predictors: give --predictor too"
        raise SpecError(f"{', '.join(wrong)} is about {belongs}. Leave it out.")


def _export_predictor(
    uri: str, target: str, head: str | None, dataset: str | None, backbone: str | None, overwrite: bool, as_json: bool
) -> None:
    with show.progress_on(err) as progress:
        made = export_predictor(uri, target, head, dataset=dataset, backbone=backbone, overwrite=overwrite, progress=progress)
    rows = [
        ("head", made.head),
        *((name, in_bytes(size)) for name, size in made.files.items()),
        ("ONNX", _proof(made.onnx)),
        *([("Keras", _proof(made.keras))] if made.keras else []),
        ("prepare.py", _proof(made.script)),
        *(("note", note) for note in made.notes),
    ]
    out(asdict(made), as_json, show.facts(made.out, rows))


def _proof(proof: Proof) -> str:
    ties = f" ({proof.ties} ties)" if proof.ties else ""
    return f"{proof.labels_equal} of {proof.images} labels equal{ties}, largest difference {proof.largest_difference:.2g}"
