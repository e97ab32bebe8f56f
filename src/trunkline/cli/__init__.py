"""The command line: the same stages without a Prefect server."""

from trunkline.cli.commands import main

__all__ = ["main"]
