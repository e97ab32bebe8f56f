"""The Prometheus endpoint as a command."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from trunkline.cli.app import app, err
from trunkline.errors import SpecError
from trunkline.telemetry.counting import FOLDER

PORT_VARIABLE = "TRUNKLINE_METRICS_PORT"


@app.command(
    help="Serve what runs counted to Prometheus, at /metrics, and /healthz. Runs count where TRUNKLINE_METRICS_DIR names a folder."
)
def metrics(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="TRUNKLINE_METRICS_PORT, or 9750, by default; 0 takes a free one.", show_default=False
        ),
    ] = None,
    folder: Annotated[
        str | None, typer.Option(help="TRUNKLINE_METRICS_DIR by default.", metavar="DIR", show_default=False)
    ] = None,
) -> None:
    from trunkline.telemetry.endpoint import Endpoint

    endpoint = Endpoint(Path(_folder(folder)), host, _port(port))
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: endpoint.stop())
    err.print(f"Serving {endpoint.url}", markup=False, highlight=False)
    endpoint.serve()


def _folder(given: str | None) -> str:
    folder = given or os.environ.get(FOLDER)
    if not folder:
        raise SpecError(
            f"Which folder? Name the one that runs count into with --folder, or set {FOLDER} for them and for this."
        )
    return folder


def _port(given: int | None) -> int:
    from trunkline.telemetry.endpoint import PORT

    said = os.environ.get(PORT_VARIABLE, "")
    if given is not None or not said:
        return PORT if given is None else given
    if not said.isdecimal() or int(said) > 65535:
        raise SpecError(f"{PORT_VARIABLE} is {said!r}; a port is a number up to 65535.")
    return int(said)
