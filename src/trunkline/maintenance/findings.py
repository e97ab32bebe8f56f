"""What the maintenance of a store finds: one frozen record, and how bad it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trunkline.errors import StoreError, did_you_mean
from trunkline.store.feature_store import Dataset, FeatureStore


class Severity(StrEnum):
    """What can be done: a damaged shard is extracted again; what is derived is deleted and made anew; for the rest somebody has to act."""

    DAMAGED = "damaged"
    DERIVED = "derived"
    IRREPARABLE = "irreparable"


@dataclass(frozen=True)
class Finding:
    """Something of a store that is not as it was written.

    Parameters
    ----------
    what : `features`, `record`, `arrays`, `moments`, `manifest`, `labels`, `splits`, `source`, `feature set`, `backbone`, `head`,
        `predictions`, `answers`, `mask`, `report`, `effects` or `rows`.
    where : the object, or the feature set, as a URI.
    detail, advice : what is wrong, and what to do, for people.
    shard : the name of the shard it concerns; '' where it is none.
    """

    what: str
    where: str
    severity: Severity
    detail: str
    advice: str
    shard: str = ""


def chosen(store: FeatureStore, dataset: str | None) -> list[Dataset]:
    """The datasets that a command is about: the named one, or all. Raises StoreError for an unknown one."""
    known = {each.name: each for each in store.datasets()}
    if dataset is None:
        return list(known.values())
    if dataset not in known:
        names = ", ".join(known) or "none"
        raise StoreError(f"{store.root} holds no dataset {dataset!r}.{did_you_mean(dataset, known)} It has: {names}.")
    return [known[dataset]]
