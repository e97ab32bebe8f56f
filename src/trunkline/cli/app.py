"""The application that all commands join, and how they print.

Exit codes: 0 done, 2 the user has to change something, 1 the run failed and can be started again, 130 interrupted.
"""

from __future__ import annotations

import logging
import sys
from typing import IO, Annotated, Any, cast

import typer
from rich.console import Console
from rich.markup import escape

from trunkline.cli import show
from trunkline.errors import TrunklineError
from trunkline.logs import setup as logs

INTERRUPTED = 130
WIDE = 10_000  # columns, where each line becomes a record

log = logging.getLogger(__name__)

app = typer.Typer(
    help="Turn folders, tables and buckets of images into features that ML teams can read, and keep them up to date.",
    epilog="A run that was stopped is resumed by starting it again.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
err = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]
StorePath = Annotated[str, typer.Argument(metavar="STORE", help="Root of a feature store.")]


def main() -> None:
    """Run the command line; a user's mistake is one message, never a traceback."""
    try:
        logs.configure()
        if logs.is_json():
            err.file, err.width = cast(IO[str], logs.LinesAsRecords(log)), WIDE
        app()
    except TrunklineError as error:
        _complain(error)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # Typer's own answer to Ctrl-C says nothing
            err.print("Interrupted. What was committed is kept: start the same command again to go on.")
        raise
    except Exception:
        if not isinstance(err.file, logs.LinesAsRecords):
            raise
        log.exception("This should not have happened")
        sys.exit(1)


def _complain(error: TrunklineError) -> None:
    if isinstance(err.file, logs.LinesAsRecords):
        log.error("%s", show.plain(str(error)), extra={"error": type(error).__name__})
        return
    err.print(f"[bold red]Error:[/bold red] {escape(show.plain(str(error)))}", soft_wrap=True, highlight=False)


def out(summary: dict[str, Any], as_json: bool, drawn: Any) -> None:
    """People read the table on stdout; with --json it goes to stderr and stdout holds the object alone."""
    if not (as_json and isinstance(err.file, logs.LinesAsRecords)):
        (err if as_json else Console()).print(drawn, crop=False)
    if as_json:
        show.json_line(summary)
