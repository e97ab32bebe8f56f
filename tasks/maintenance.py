"""Looking after a store, as tasks."""

from collections.abc import Sequence

from prefect import get_run_logger

from tasks import tables
from tasks.publishing import ProgressArtifact, table
from tasks.stage import ended, stage
from trunkline.clusters import Cluster
from trunkline.maintenance.retry import Retried, retry
from trunkline.maintenance.verify import Verified, verify
from trunkline.specs import ClusterSpec
from trunkline.wording import counted

SHOWN = 20


@stage("verify", "verify {store}")
def verify_store(store: str, dataset: str | None, where: ClusterSpec) -> Verified:
    """Every feature set checked; what is wrong as a table."""
    with Cluster(where) as cluster, ProgressArtifact("verify") as progress:
        found = verify(store, cluster, dataset, progress)
    table("findings", tables.findings(found.findings), f"What is not as it was written in {found.store}")
    for finding in found.findings[:SHOWN]:
        get_run_logger().error("%s %s: %s; %s", finding.what, finding.where, finding.detail, finding.advice)
    return ended(found, counted(len(found.findings), "finding"))


@stage("retry", "retry quarantined images")
def retry_images(store: str, dataset: str | None, reasons: Sequence[str], where: ClusterSpec) -> list[Retried]:
    """New rows for quarantined images, extracted at once."""
    with Cluster(where) as cluster, ProgressArtifact("retry") as progress:
        done = retry(store, dataset, tuple(reasons), cluster, progress)
    table("retried", tables.retried(done), "Images that were tried again, by dataset")
    return ended(done, f"{counted(sum(len(each.retried) for each in done), 'image')} tried again")
