"""The extraction as a task: one task run, however many shards Dask works through."""

from prefect import get_run_logger

from tasks import tables
from tasks.publishing import ProgressArtifact, table
from tasks.stage import ended, stage
from trunkline.clusters import Cluster
from trunkline.reader import open_features
from trunkline.specs import RunSpec
from trunkline.stages.extract import ExtractReceipt, extract
from trunkline.stages.report import quarantined

LOOKED_AT = 1000  # quarantined images among which the first of each reason are shown


@stage("extract", "extract {spec.backbone}")
def extract_features(spec: RunSpec) -> ExtractReceipt:
    """Manifest → features, on the spec's cluster."""
    with Cluster(spec.cluster) as cluster, ProgressArtifact("extraction") as progress:
        receipt = extract(spec, cluster, progress)
    counts = receipt.counts
    done = f"{receipt.extracted:,} extracted" if receipt.extracted else "nothing to extract, all is committed"
    words = f"{done}; {counts.ok} ok, {counts.quarantined} quarantined, {counts.pending} pending"
    get_run_logger().info(words)
    if receipt.reasons:
        first = quarantined(open_features(receipt.feature_set), LOOKED_AT)
        table("quarantine", tables.quarantine(receipt.reasons, first), "Images that could not be read")
    return ended(receipt, words, cached=not receipt.extracted)
