"""Audit: extract a random sample of committed rows again from their sources, and compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones.compiled import committed_backbone
from trunkline.backbones.golden import cosines
from trunkline.blocks import feature_digest
from trunkline.errors import DataError, StoreError, did_you_mean
from trunkline.locations import Location
from trunkline.progress import Progress, Step, silent
from trunkline.reader import Features
from trunkline.reextraction import Again, Reextraction, sampled
from trunkline.store.feature_set import FeatureSet
from trunkline.store.feature_store import FeatureStore

LEAST_COSINES = {"f32": 0.99999, "bf16": 0.99, "mixed_float16": 0.999}  # on another kind of machine, by precision


@dataclass(frozen=True)
class Finding:
    """A row that is not as it was committed.

    `kind` is `changed` (other bytes in the source), `missing` or another reason (its image cannot be read any more), `damaged` (the
    stored features are not those that were committed) or `deviates` (the same bytes give other features).
    """

    row: int
    id: str
    kind: str
    detail: str


@dataclass(frozen=True)
class Audited:
    """One feature set. `largest_deviation` (absolute) and `lowest_cosine` are over rows with unchanged bytes; None without any.

    `same_environment` counts the rows that were committed on this kind of machine, where features must be equal bit for bit.
    """

    feature_set: str
    rows: int
    checked: int
    same_bytes: int
    same_environment: int
    equal_bits: int
    largest_deviation: float | None
    lowest_cosine: float | None
    findings: Sequence[Finding]

    @property
    def kinds(self) -> Mapping[str, int]:
        return Counter(finding.kind for finding in self.findings)

    def summary(self) -> dict[str, Any]:
        return {**asdict(self), "findings": [asdict(finding) for finding in self.findings]}


def audit(
    store: str, dataset: str | None = None, sample: int = 64, seed: int = 0, progress: Progress = silent
) -> list[Audited]:
    """Audit every feature set of a store, or of one of its datasets.

    Parameters
    ----------
    sample : rows of each feature set.
    seed : of the draw.

    Raises
    ------
    StoreError : no store, no such dataset, or its compiled backbone is gone.
    DataError : nothing was extracted yet.
    """
    root = FeatureStore.open(Location.of(store))
    known = {each.name: each for each in root.datasets()}
    if dataset is not None and dataset not in known:
        raise StoreError(f"{root.root} holds no dataset {dataset!r}.{did_you_mean(dataset, known)} It has: {', '.join(known)}.")
    found = [features for name in known if dataset in (None, name) for features in root.feature_sets(name)]
    audited = [_audit(root, features, sample, seed, progress) for features in found if features.commits.done()]
    if not audited:
        raise DataError(f"There is nothing to audit in {root.root}: no shard is committed yet. `trunkline run` makes some.")
    return audited


def _audit(root: FeatureStore, feature_set: FeatureSet, sample: int, seed: int, progress: Progress) -> Audited:
    features = Features(feature_set)
    committed = _committed(features)
    rows = sampled(features, sample, seed)
    environment = next(iter(committed.values()))[1] if committed else {}
    backbone = committed_backbone(root.root, feature_set.recipe, environment.get("batch"))
    again = Reextraction(features, backbone, feature_set.recipe, environment.get("runtime", "openvino"))
    judge = _Judge(features, committed, again.environment)
    progress(Step("audit", 0, len(rows)))
    for number, each in enumerate(again.of(rows), start=1):
        judge.see(each)
        progress(Step("audit", number, len(rows)))
    return judge.verdict(len(rows))


def _committed(features: Features) -> dict[int, tuple[Mapping[str, Any], Mapping[str, str]]]:
    """Row → its line of the commit record, and the environment that computed it."""
    return {
        line["row"]: (line, commit.environment)
        for commit in features.commits()
        for line in commit.table.select(["row", "sha256", "feature"]).to_pylist()
    }


class _Judge:
    """What was seen so far of one feature set."""

    def __init__(
        self,
        features: Features,
        committed: Mapping[int, tuple[Mapping[str, Any], Mapping[str, str]]],
        environment: Mapping[str, str],
    ) -> None:
        self._features, self._committed, self._environment = features, committed, environment
        self._least = LEAST_COSINES[features.recipe.precision]
        self._findings: list[Finding] = []
        self._same_bytes = self._same_environment = self._equal = 0
        self._deviations: list[float] = []
        self._cosines: list[float] = []

    def see(self, again: Again) -> None:
        line, environment = self._committed[again.row]
        stored = {layer: self._features.read(np.array([again.row]), layer)[0] for layer in self._features.layers}
        if feature_digest(list(stored.values())) != line["feature"]:
            self._find(
                again, "damaged", "the stored features are not those that were committed; delete the shard's record, and run"
            )
        elif again.reason:
            self._find(again, again.reason, "its image cannot be read any more")
        elif again.sha256 != line["sha256"]:
            self._find(again, "changed", "the source holds other bytes now; scan again, and its features are made anew")
        else:
            self._same_bytes += 1
            self._compare(again, stored, same_environment=environment == self._environment)

    def _compare(self, again: Again, stored: Mapping[str, NDArray[np.float32]], *, same_environment: bool) -> None:
        cosine = min(float(cosines(again.features[layer][None], values[None])[0]) for layer, values in stored.items())
        deviation = max(float(np.abs(again.features[layer] - values).max()) for layer, values in stored.items())
        equal = all(np.array_equal(again.features[layer], values) for layer, values in stored.items())
        self._same_environment += same_environment
        self._equal += equal
        self._cosines.append(cosine)
        self._deviations.append(deviation)
        if same_environment and not equal:
            self._find(
                again, "deviates", f"the same bytes on the same kind of machine give others, up to {deviation:.3g} apart"
            )
        elif not cosine >= self._least:
            self._find(again, "deviates", f"cosine {cosine:.6f} to the stored ones; at least {self._least} is expected")

    def verdict(self, checked: int) -> Audited:
        return Audited(
            feature_set=self._features.uri,
            rows=len(self._features.rows()),
            checked=checked,
            same_bytes=self._same_bytes,
            same_environment=self._same_environment,
            equal_bits=self._equal,
            largest_deviation=max(self._deviations, default=None),
            lowest_cosine=min(self._cosines, default=None),
            findings=tuple(self._findings),
        )

    def _find(self, again: Again, kind: str, detail: str) -> None:
        self._findings.append(Finding(again.row, again.id, kind, detail))
