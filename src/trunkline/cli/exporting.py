"""`trunkline export`: features as one plain file."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from trunkline.cli import show
from trunkline.cli.app import Json, app, err, out
from trunkline.stages import export as exporting
from trunkline.wording import in_bytes


@app.command(help="Write features to one file that other tools open: HDF5 (MATLAB, C, Java), Parquet (Spark, DuckDB) or .npy.")
def export(
    uri: Annotated[str, typer.Argument(metavar="STORE_OR_FEATURE_SET", help="A feature set, or a store that holds one.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="The file to write, a path or any URL: .h5, .parquet or .npy.")],
    format_: Annotated[str | None, typer.Option("--format", help="hdf5, parquet or npy; by OUT's suffix otherwise.")] = None,
    split: Annotated[str | None, typer.Option(help="Only of this split.")] = None,
    layer: Annotated[str | None, typer.Option(help="Which array; the first by default.")] = None,
    masked: Annotated[bool, typer.Option("--masked", help="Only the columns that the pinned mask keeps.")] = False,
    rule: Annotated[str | None, typer.Option(help="Whose mask, where there are masks of several rules.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Of this dataset of the store.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT where it exists.")] = False,
    as_json: Json = False,
) -> None:
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
