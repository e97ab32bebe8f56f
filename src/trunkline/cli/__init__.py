"""The command line: the same stages without a Prefect server."""

from trunkline.cli import backfilling as backfilling
from trunkline.cli import choosing as choosing
from trunkline.cli import commands as commands
from trunkline.cli import comparing as comparing
from trunkline.cli import exporting as exporting
from trunkline.cli import finetuning as finetuning
from trunkline.cli import looking as looking
from trunkline.cli import maintenance as maintenance
from trunkline.cli import monitoring as monitoring
from trunkline.cli import planning as planning
from trunkline.cli import predicting as predicting
from trunkline.cli import purging as purging
from trunkline.cli.app import app, main
from trunkline.cli.arrangement import arrange

__all__ = ["main"]

arrange(app)
