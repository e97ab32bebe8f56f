"""What the process that trains does: `python -m trunkline.finetuning.worker` reads one job from its standard input; see `process`."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict
from typing import Any, BinaryIO

from trunkline.errors import TrunklineError
from trunkline.finetuning import result
from trunkline.finetuning.event_log import EventLog
from trunkline.finetuning.job import Job
from trunkline.finetuning.network import TunedNetwork
from trunkline.finetuning.pixels import Decoded, decoded, scratch
from trunkline.finetuning.training import Training
from trunkline.progress import Progress, Step
from trunkline.report.finetuning import render
from trunkline.wording import counted

PAGE = "report.html"
SECONDS_BETWEEN_STEPS = 0.5


def finetuned(job: Job, progress: Progress) -> dict[str, Any]:
    """Train, check, measure and write; what `lineage.json` says.

    Raises
    ------
    TrunklineError : what its parts raise; checkpoints are kept.
    """
    started = time.monotonic()
    tuned = TunedNetwork(job.order, job.tune, job.unfrozen, len(job.images.classes), mixed=_mixed(job))
    result.refuse_what_no_file_holds(job, tuned)
    with scratch() as folder:
        images = decoded(job.images, job.order.recipe, folder, job.most_bad, progress)
        kept = job.images.without(list(images.bad))
        log = EventLog(job.place / "logs")
        try:
            trained = Training(job, tuned, images.pixels, kept, folder, log, progress).run()
        finally:
            log.close()
        content = result.file_of(tuned)
        some = images.pixels[kept.validation[: result.GOLDEN_IMAGES]]
        result.refuse_another_network(job, tuned, content, some)
        test = result.tested(tuned, images, kept, job.tune.seed)
    counts = {name: len(getattr(kept, name)) for name in ("training", "validation", "test")}
    said = {
        "images": counts | {"unreadable": dict(Counter(images.bad.values())), "left_out": test.left_out},
        "resumed": trained.resumed,
        "notes": [*trained.notes, *_notes(images, test)],
        "seconds": round(time.monotonic() - started, 1),
    }
    (job.place / PAGE).write(render(job.place.name, trained.history, trained.best, test.metrics, job.images.classes).encode())
    lineage = result.write(job, trained, test, content, said)
    (job.place / "checkpoints").remove()
    return lineage


def _mixed(job: Job) -> bool:
    if job.tune.precision != "auto":
        return job.tune.precision == "mixed_float16"
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def _notes(images: Decoded, test: result.Tested) -> list[str]:
    notes = []
    if images.bad:
        notes.append(f"Left out: {counted(len(images.bad), 'image')} that cannot be read.")
    if test.left_out:
        notes.append(f"Left out of the metrics: {counted(test.left_out, 'test image')} with the bytes of a training image.")
    if test.metrics is None:
        notes.append("The test split has no image left, so there are no figures but those of the validation images.")
    return notes


def main() -> None:
    """One job; its steps, its end or its failure as lines of JSON on what was the standard output."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # TensorFlow's chatter
    content = sys.stdin.buffer.read(int.from_bytes(sys.stdin.buffer.read(8), "little"))
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    job: Job = pickle.loads(content)
    from trunkline.backbones.importing import import_keras

    import_keras()
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):  # on GPUs some gradients have no deterministic kernel, and would be refused
        tf.config.experimental.enable_op_determinism()
    logging.basicConfig(level=logging.WARNING)
    say = _Say(answers)
    try:
        say.line(lineage=finetuned(job, say))
    except TrunklineError as error:
        say.line(failed={"kind": type(error).__name__, "words": str(error)})


def _end_with_the_parent() -> None:
    """End at once when the one who asked is gone: another run may be going on from the checkpoints. Nothing else comes by this pipe."""
    os.read(0, 1)
    os._exit(1)


class _Say:
    """Steps, not more often than people read; the first and the last of a stage always."""

    def __init__(self, answers: BinaryIO) -> None:
        self._answers, self._last, self._stage = answers, 0.0, ""

    def __call__(self, step: Step) -> None:
        now, ended = time.monotonic(), step.done == step.total
        if step.stage == self._stage and not ended and now - self._last < SECONDS_BETWEEN_STEPS:
            return
        self._last, self._stage = now, step.stage
        self.line(step=asdict(step))

    def line(self, **said: Any) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._answers.write(json.dumps(said).encode() + b"\n")
            self._answers.flush()


if __name__ == "__main__":
    main()
