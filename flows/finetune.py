"""Fine-tuning: scan → finetune, and the pipeline with the new backbone if asked for. Run it again to resume it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from prefect import flow, runtime

from flows.pipeline import pipeline
from tasks.finetune import finetune_backbone
from tasks.scan import scan_source
from trunkline.specs import FinetuneSpec, RunSpec
from trunkline.stages.finetune import FinetuneReceipt, with_the_result
from trunkline.stages.run import RunReceipt

AS_IT_IS = FinetuneSpec()


@dataclass(frozen=True)
class FinetuneFlowReceipt:
    """The new backbone, and what the pipeline did with it, where it was asked for."""

    finetuned: FinetuneReceipt
    run: RunReceipt | None


def _run_name() -> str:
    spec = RunSpec.model_validate(runtime.flow_run.parameters["spec"])
    return f"fine-tune {spec.backbone} on {spec.dataset_name}"


@flow(name="finetune", flow_run_name=_run_name, persist_result=False)
def finetune(
    spec: RunSpec, tune: FinetuneSpec = AS_IT_IS, then: Literal["nothing", "pipeline"] = "nothing"
) -> FinetuneFlowReceipt:
    """Adapt a backbone to the classes of a dataset.

    Parameters
    ----------
    spec : source, store, backbone and preparation, as of the pipeline.
    tune : how it is trained.
    then : pipeline: extract features with the new backbone, fit heads on them, and write the report.
    """
    scan_source(spec)
    finetuned = finetune_backbone(spec, tune)
    return FinetuneFlowReceipt(finetuned, pipeline(with_the_result(spec, finetuned)) if then == "pipeline" else None)
