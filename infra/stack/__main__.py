"""The commands of stack.sh: up, down, status, start, stop, restart.

STACK names the folder (./stack), WORKERS the number of Dask workers (2). With STACK_PORTS=free every port is one that the system picks.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import typer

from infra.stack import postgres, processes
from infra.stack.errors import MissingPart, StackError
from infra.stack.folder import Folder
from infra.stack.stack import Stack, new_settings

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
GB = 1e9


def _folder() -> Folder:
    return Folder(Path(os.environ.get("STACK") or "stack").absolute())


@app.command()
def up() -> None:
    """Start all services that do not run, and wait until they are healthy."""
    began, folder = time.monotonic(), _folder()
    postgres.binaries(), postgres.user()
    with folder.locked():
        if not folder.exists:
            folder.create(new_settings(folder, _workers(), os.environ.get("STACK_PORTS") != "free"))
        stack = Stack(folder)
        folder.write_environment(stack.environment())
        typer.echo(f"The stack in {folder.path}:")
        started = stack.start(stack.processes, typer.echo)
    typer.echo(_what_next(stack, len(started), time.monotonic() - began))


@app.command()
def down() -> None:
    """End all of it and delete its folder: data, logs and all."""
    folder = _folder()
    if not folder.exists:
        typer.echo(f"No stack runs in {folder.path}.")
        return
    with folder.locked():
        stack = Stack(folder)
        typer.echo(f"Ending the stack in {folder.path}:")
        stack.stop(stack.processes, typer.echo)
        processes.end_marked(stack.settings.stack_id)
        others = folder.remove()
    kept = f" Not made by it, and still there: {', '.join(others)}." if others else ""
    typer.echo(f"Nothing of it is left.{kept}")


@app.command()
def status() -> None:
    """Each service: its process, its memory with all that it started, its health."""
    stack = Stack(_folder())
    health = stack.health()
    for each in health:
        memory = f"{each.memory / GB:.2f} GB" if each.pid else ""
        typer.echo(f"{each.name:<16} {each.state:<10} {each.pid or '':>8} {memory:>9}")
    if any(each.state in ("dead", "unhealthy") for each in health):
        raise typer.Exit(1)


@app.command()
def start(names: list[str]) -> None:
    """Start these services, and wait until they are healthy."""
    stack = Stack(_folder())
    with stack.folder.locked():
        stack.start(stack.named(names), typer.echo)


@app.command()
def stop(names: list[str]) -> None:
    """End these services."""
    stack = Stack(_folder())
    with stack.folder.locked():
        stack.stop(stack.named(names), typer.echo)


@app.command()
def restart(names: list[str]) -> None:
    """End these services and start them again."""
    stack = Stack(_folder())
    with stack.folder.locked():
        stack.stop(stack.named(names), typer.echo)
        stack.start(stack.named(names), typer.echo)


def _workers() -> int:
    text = os.environ.get("WORKERS") or "2"
    if not text.isdigit() or int(text) < 1:
        raise MissingPart(f"WORKERS is {text!r}: it is the number of Dask workers, 1 or more.")
    return int(text)


def _what_next(stack: Stack, started: int, seconds: float) -> str:
    values, variables = stack.environment(), stack.settings.variables
    is_usual = stack.folder.path == Path("stack").absolute()
    down = "make stack-down" if is_usual else f"make stack-down STACK={stack.folder.path}"
    state = (
        f"{started} services were started and are healthy after {seconds:.0f} s."
        if started
        else "It runs already, all healthy."
    )
    look = {
        "Prefect": values["PREFECT_API_URL"].removesuffix("/api"),
        "Dask": f"http://127.0.0.1:{variables['DASK_DASHBOARD_PORT']}/info/main/workers.html",
        "metrics": f"http://127.0.0.1:{values['TRUNKLINE_METRICS_PORT']}/metrics",
        "S3": f"{values['AWS_ENDPOINT_URL']} ({values['TRUNKLINE_STORE']}; its contents end with it)",
        "logs": str(stack.folder.path / "logs"),
    }
    do = {
        f". {stack.folder.environment}": "this shell talks to it: prefect, trunkline, aws",
        "make deploy": "then makes the deployments",
        down: "ends it and deletes its folder",
    }
    return "\n".join([state, "", *_table(look), "", *_table(do)])


def _table(rows: dict[str, str]) -> list[str]:
    width = max(map(len, rows))
    return [f"  {name:<{width}}  {value}" for name, value in rows.items()]


def main() -> None:
    """Run the command that the command line names; troubles end it in words, with 1, or 2 where something is missing."""
    try:
        app()
    except StackError as error:
        typer.echo(f"Error: {error}", err=True)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
