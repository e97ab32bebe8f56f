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
from trunkline.errors import CorruptStore, DataError, StoreError, did_you_mean
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
    committed = _committed(features, sampled(features, sample, seed))
    judge = _Judge(features, committed)
    progress(Step("audit", 0, len(committed)))
    for (runtime, batch), rows in _alike(committed).items():
        backbone = committed_backbone(root.root, feature_set.recipe, batch)
        again = Reextraction(features, backbone, feature_set.recipe, runtime)
        for each in again.of(rows):
            judge.see(each, again.environment)
            progress(Step("audit", judge.seen, len(committed)))
    return judge.verdict(len(committed))


@dataclass(frozen=True)
class _Committed:
    """What the commit record of a shard says of one row."""

    sha256: str
    feature: str
    environment: Mapping[str, str]
    record: str


def _committed(features: Features, rows: NDArray[np.int64]) -> dict[int, _Committed]:
    found: dict[int, _Committed] = {}
    for commit in features.commits():
        first, last = np.searchsorted(rows, (commit.shard.start, commit.shard.stop))
        for row in rows[first:last].tolist():
            line = commit.table.slice(row - commit.shard.start, 1).to_pylist()[0]
            found[row] = _Committed(line["sha256"], line["feature"], commit.environment, f"commits/{commit.shard.name}.parquet")
    return found


def _alike(committed: Mapping[int, _Committed]) -> dict[tuple[str, str | None], NDArray[np.int64]]:
    """The rows by the runtime and batch that computed them, ascending."""
    groups: dict[tuple[str, str | None], list[int]] = {}
    for row, each in committed.items():
        groups.setdefault((each.environment.get("runtime", "openvino"), each.environment.get("batch")), []).append(row)
    return {key: np.array(rows, np.int64) for key, rows in groups.items()}


class _Judge:
    """What was seen so far of one feature set."""

    def __init__(self, features: Features, committed: Mapping[int, _Committed]) -> None:
        self._features, self._committed = features, committed
        self._least = LEAST_COSINES[features.recipe.precision]
        self._findings: list[Finding] = []
        self.seen = self._same_bytes = self._same_environment = self._equal = 0
        self._deviations: list[float] = []
        self._cosines: list[float] = []

    def see(self, again: Again, environment: Mapping[str, str]) -> None:
        """`environment` is what extracted it again."""
        self.seen += 1
        committed = self._committed[again.row]
        advice = f"delete {committed.record}, and run: its shard is extracted again"
        try:
            stored = {layer: self._features.read(np.array([again.row]), layer)[0] for layer in self._features.layers}
        except CorruptStore as error:
            self._find(again, "damaged", f"the stored features cannot be read ({error})")
            return
        if feature_digest(list(stored.values())) != committed.feature:
            self._find(again, "damaged", f"the stored features are not those that were committed; {advice}")
        elif again.reason:
            self._find(again, again.reason, "its image cannot be read any more")
        elif again.sha256 != committed.sha256:
            self._find(again, "changed", "the source holds other bytes now; scan again, and its features are made anew")
        else:
            self._same_bytes += 1
            self._compare(again, stored, same_environment=committed.environment == environment)

    def _compare(self, again: Again, stored: Mapping[str, NDArray[np.float32]], *, same_environment: bool) -> None:
        cosine = min(
            float(np.nan_to_num(cosines(again.features[layer][None], values[None])[0])) for layer, values in stored.items()
        )
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
