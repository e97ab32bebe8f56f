"""The command line: the same stages without a Prefect server."""

from trunkline.cli import commands as commands
from trunkline.cli import maintenance as maintenance
from trunkline.cli.app import main

__all__ = ["main"]
