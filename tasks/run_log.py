"""What trunkline and Dask log, in the log of the Prefect run that it is about, at a bearable rate.

Prefect finds the run of a record in the context in which it is logged. Records of Dask workers are handled in the context in which
the cluster was started (`trunkline.logs.forwarding`), so theirs is found there too.
"""

from __future__ import annotations

import logging
from functools import cache

from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging.handlers import APILogHandler

from trunkline.logs import setup
from trunkline.logs.outlet import Outlet

LOGGERS = {"trunkline": logging.INFO, "distributed": logging.WARNING}
SAID_BY_TASKS = "trunkline.stages.watched"  # starts and ends of stages, which a task run shows itself


@cache
def log_to_runs() -> None:
    """Set up this process's logs once: its stderr as the environment says, and the runs' logs."""
    setup.configure(logging.getLogger("prefect").level or logging.INFO, text=False)
    for name, level in LOGGERS.items():
        logging.getLogger(name).addHandler(Outlet(_ToRun(), _of_run, level=level))


class _ToRun(APILogHandler):
    """Prefect's handler, of records that know their run, and where they come from."""

    def format(self, record: logging.LogRecord) -> str:
        worker = getattr(record, "worker", None)
        return super().format(record) + (f" (worker {worker})" if worker else "")


_latest: dict[str, str] = {}


def _of_run(record: logging.LogRecord) -> bool:
    """Give a record the run in whose context it is logged; False where there is none.

    Dask's own threads have no context: what they say of workers that are lost goes to the run that logged last.
    """
    ids = _ids()
    if ids:
        _latest.clear()
        _latest.update(ids)
    elif record.name.startswith("distributed"):
        ids = dict(_latest)
    vars(record).update(ids)
    return bool(ids) and not (record.name == SAID_BY_TASKS and "task_run_id" in ids)


def _ids() -> dict[str, str]:
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    flow_run = flow.flow_run if flow is not None else None
    if task is not None and (flow_run is None or flow_run.id == task.task_run.flow_run_id):  # else a flow that a task called
        return {"task_run_id": str(task.task_run.id), "flow_run_id": str(task.task_run.flow_run_id)}
    return {"flow_run_id": str(flow_run.id)} if flow_run is not None else {}
