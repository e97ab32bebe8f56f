"""Fine-tuning as a task."""

from __future__ import annotations

from prefect import get_run_logger

from tasks.publishing import ProgressArtifact, table
from tasks.stage import ended, stage
from trunkline.progress import Step
from trunkline.specs import FinetuneSpec, RunSpec
from trunkline.stages.finetune import FinetuneReceipt, finetune


class _ByStage:
    """A bar for each part of the work: decoding, features of the frozen backbone, the new head, the last layers."""

    def __init__(self) -> None:
        self._bars: dict[str, ProgressArtifact] = {}

    def __call__(self, step: Step) -> None:
        key = "finetune-progress" if step.stage == "finetune" else f"finetune-{step.stage}"
        self._bars.setdefault(step.stage, ProgressArtifact(key))(step)


@stage("finetune", "fine-tune {spec.backbone}")
def finetune_backbone(spec: RunSpec, tune: FinetuneSpec) -> FinetuneReceipt:
    """A new head on the frozen backbone, then its last layers; a run that died goes on from its last checkpoint."""
    receipt = finetune(spec, tune, _ByStage())
    log = get_run_logger()
    log.info("%s%s", receipt.backbone, " (was there already)" if receipt.cached else "")
    for note in receipt.notes:
        log.warning(note)
    figures = receipt.metrics.figures if receipt.metrics else {"val_macro_f1": receipt.best["val_macro_f1"]}
    rows = [{"figure": name, "value": value} for name, value in figures.items() if value is not None]
    table("finetuned", rows, f"{receipt.name}: {receipt.backbone}, report {receipt.report}")
    return ended(receipt, f"{receipt.backbone}, report {receipt.report}", cached=receipt.cached)
