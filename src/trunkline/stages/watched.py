"""Runs and stages under watch: their start and end in the log, their seconds, outcomes and shards counted for Prometheus."""

from __future__ import annotations

import contextlib
import functools
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Concatenate, ParamSpec, TypeVar, cast

from trunkline import telemetry
from trunkline.blocks import Status
from trunkline.errors import UserError
from trunkline.extraction import ShardReceipt
from trunkline.logs import about, current, outlet
from trunkline.specs import RunSpec

Receipt = TypeVar("Receipt")
Parameters = ParamSpec("Parameters")

OUTCOMES = ("succeeded", "refused", "failed", "stopped", "died")

log = logging.getLogger(__name__)


def new_run_id() -> str:
    """Sorts by time: UTC to the second, then four random hex digits."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


@contextlib.contextmanager
def watched_run(dataset: str, run_id: str) -> Iterator[None]:
    """A whole run: what is logged meanwhile carries its id and dataset, and it is counted by how it ends."""
    started, outcome = time.monotonic(), "stopped"
    telemetry.add("trunkline_runs_active", 1, dataset=dataset)
    for each in OUTCOMES:  # who watches for an increase must have seen 0 before
        telemetry.add("trunkline_runs_total", 0, dataset=dataset, outcome=each)
    with about(run=run_id, dataset=dataset):
        log.info("Run %s of %s starts", run_id, dataset)
        try:
            yield
            outcome = "succeeded"
            telemetry.raise_to("trunkline_last_success_timestamp_seconds", time.time(), dataset=dataset)
        except UserError:
            outcome = "refused"
            raise
        except Exception:
            outcome = "failed"
            raise
        finally:
            telemetry.add("trunkline_runs_total", dataset=dataset, outcome=outcome)
            telemetry.add("trunkline_runs_active", -1, dataset=dataset)
            log.info("Run %s of %s %s after %.1f s", run_id, dataset, outcome, time.monotonic() - started)


def watched(
    stage: str, said: Callable[[Receipt], str]
) -> Callable[[Callable[Concatenate[RunSpec, Parameters], Receipt]], Callable[Concatenate[RunSpec, Parameters], Receipt]]:
    """Watch a stage, a function of a spec and more; `said` puts its receipt into words."""

    def decorated(
        function: Callable[Concatenate[RunSpec, Parameters], Receipt],
    ) -> Callable[Concatenate[RunSpec, Parameters], Receipt]:
        @functools.wraps(function)
        def with_watch(spec: RunSpec, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Receipt:
            with _watching(stage, spec.dataset_name) as tell:
                receipt = function(spec, *args, **kwargs)
                tell(said(receipt))
                return receipt

        return cast(Callable[Concatenate[RunSpec, Parameters], Receipt], with_watch)

    return decorated


@contextlib.contextmanager
def watched_shards(dataset: str, backbone: str, shards: int) -> Iterator[Callable[[ShardReceipt], None]]:
    """An extraction of so many shards, in a stage or without one; what it gives is called with each receipt."""
    left = shards

    def done(receipt: ShardReceipt) -> None:
        nonlocal left
        left -= 1
        telemetry.add("trunkline_shards_left", -1, dataset=dataset)
        if not receipt.reused:
            _count(receipt, dataset, backbone)

    telemetry.add("trunkline_shards_left", shards, dataset=dataset)
    try:
        with about(run=current().get("run") or new_run_id(), dataset=dataset):
            yield done
    finally:
        telemetry.add("trunkline_shards_left", -left, dataset=dataset)


@contextlib.contextmanager
def _watching(stage: str, dataset: str) -> Iterator[Callable[[str], None]]:
    started, words = time.monotonic(), ""

    def tell(result: str) -> None:
        nonlocal words
        words = result

    with about(run=current().get("run") or new_run_id(), dataset=dataset):
        log.info("%s of %s starts", stage, dataset)
        try:
            yield tell
        except BaseException as error:
            outlet.tell()
            log.info("%s of %s ended after %.1f s with %s", stage, dataset, time.monotonic() - started, type(error).__name__)
            raise
        else:
            outlet.tell()
            log.info("%s of %s took %.1f s: %s", stage, dataset, time.monotonic() - started, words)
        finally:
            telemetry.add("trunkline_stage_seconds_total", time.monotonic() - started, dataset=dataset, stage=stage)


def _count(receipt: ShardReceipt, dataset: str, backbone: str) -> None:
    for status in (Status.OK, Status.QUARANTINED):
        if images := receipt.statuses.get(status, 0):
            telemetry.add("trunkline_images_total", images, dataset=dataset, backbone=backbone, status=status.value)
    for reason, images in receipt.reasons.items():
        telemetry.add("trunkline_quarantined_total", images, dataset=dataset, reason=reason)
    telemetry.add("trunkline_read_bytes_total", receipt.read_bytes, dataset=dataset)
    telemetry.add("trunkline_written_bytes_total", receipt.written_bytes, dataset=dataset)
    for part in ("read", "decode", "forward", "write"):
        telemetry.add("trunkline_extract_seconds_total", getattr(receipt.timings, part), dataset=dataset, part=part)


def in_words(reasons: Mapping[str, int]) -> str:
    """`2 empty, 1 truncated`, in brackets behind a number of images; '' for none."""
    return " (" + ", ".join(f"{count:,} {reason}" for reason, count in reasons.items()) + ")" if reasons else ""
