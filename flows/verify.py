"""Verify: everything a store says of itself against what lies there. Findings end in a failed run that names them."""

from __future__ import annotations

from prefect import flow

from flows.parameters import HERE, OneDataset, Store, Where
from tasks.maintenance import verify_store
from tasks.stage import ended
from trunkline.errors import CorruptStore
from trunkline.wording import counted


@flow(name="verify", flow_run_name="verify {store}", persist_result=False)
def verify(store: Store, dataset: OneDataset = None, cluster: Where = HERE) -> dict[str, object]:
    """Check every commit record against manifest and arrays, and account for every row; nothing is changed.

    Parameters
    ----------
    store : root of the feature store.
    dataset : only this one; all by default.
    cluster : where shards are read; in the run's own process by default.

    Raises
    ------
    CorruptStore : something is not as it was written.
    """
    found = verify_store(store, dataset, cluster)
    if found.findings:
        first = found.findings[0]
        more = f", and {len(found.findings) - 1} more" if len(found.findings) > 1 else ""
        raise CorruptStore(
            f"{counted(len(found.findings), 'finding')} in {found.store}: {first.where} {first.detail}{more}; the artifact "
            f"`findings` lists them. `trunkline verify {found.store} --repair` makes anew what can be made anew."
        )
    shards = sum(each.shards for each in found.feature_sets)
    words = f"{counted(len(found.feature_sets), 'feature set')} with {counted(shards, 'shard')}: all as it was written"
    orphans = f"; {counted(len(found.orphans), 'orphan')}, for `trunkline gc`." if found.orphans else "."
    return ended(found.summary(), words + orphans)
