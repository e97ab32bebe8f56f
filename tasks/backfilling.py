"""The parts of a backfill as tasks: its plan, one slice, and what is measured at its end."""

from __future__ import annotations

from collections.abc import Mapping

from prefect import get_run_logger

from tasks.publishing import ProgressArtifact, table
from tasks.stage import ended, stage
from trunkline.clusters import Cluster
from trunkline.specs import BackfillSpec
from trunkline.stages.backfill import SliceReceipt, backfill_slice, effects_of
from trunkline.stages.backfill_plan import BackfillPlan, plan_backfill

SLICE_PROGRESS = "backfill-slice"


@stage("plan", "plan the slices")
def plan_slices(spec: BackfillSpec) -> BackfillPlan:
    """What is not committed yet, in slices."""
    with Cluster(spec.cluster) as cluster:
        plan = plan_backfill(spec, cluster)
    get_run_logger().info(plan.headline)
    return ended(plan, plan.headline, cached=not plan.slices)


@stage("extract", "extract rows {first} to {stop}")
def extract_slice(spec: BackfillSpec, first: int, stop: int) -> SliceReceipt:
    """Rows [first, stop) under all recipes; each image is read once."""
    with Cluster(spec.cluster) as cluster:
        receipt = backfill_slice(spec, first, stop, cluster, ProgressArtifact(SLICE_PROGRESS))
    words = receipt.in_words()
    get_run_logger().info(words)
    reasons = [{"reason": reason, "images": count} for reason, count in receipt.reasons.items()]
    table("quarantine", reasons, "Images of this slice that could not be read")
    return ended(receipt, words, cached=not receipt.images)


@stage("effects", "measure what the recipes did to the features")
def measure_effects(spec: BackfillSpec) -> Mapping[str, int]:
    """What precision, decoding and dtype did to a sample of the features, kept beside them."""
    with Cluster(spec.cluster) as cluster:
        found = effects_of(spec, cluster)
    rows = [
        {"recipe": recipe, "what": effect.what, "images": effect.images, "lowest cosine": round(effect.lowest_cosine, 6)}
        for recipe, effects in found.items()
        for effect in effects
    ]
    table("effects", rows, "What faster or smaller recipes did to the features")
    return ended({recipe: len(effects) for recipe, effects in found.items()}, f"{len(rows)} effects")
