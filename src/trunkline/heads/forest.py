"""Random forest: scikit-learn's, on all cores of this machine, saved with skops."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.errors import CorruptStore
from trunkline.heads.protocol import Codes, Features
from trunkline.specs import ForestSpec


@dataclass(frozen=True)
class Forest:
    """A fitted RandomForestClassifier over all k classes."""

    model: Any
    classes: int
    chosen: Mapping[str, str]

    def probabilities(self, features: Features) -> NDArray[np.float64]:
        out = np.zeros((len(features), self.classes))
        out[:, self.model.classes_] = self.model.predict_proba(features)
        return out

    def files(self) -> dict[str, bytes]:
        import skops.io

        return {"forest.skops": skops.io.dumps(self.model, compression=zipfile.ZIP_DEFLATED, compresslevel=1)}

    @classmethod
    def load(cls, files: Mapping[str, bytes], classes: int) -> Forest:
        """Skops builds scikit-learn's own types alone; the trees' node numbers are checked, as a wrong one would crash the process."""
        import skops.io

        model = skops.io.loads(files["forest.skops"], trusted=["sklearn.tree._tree.Tree"])
        for estimator in model.estimators_:
            tree = estimator.tree_
            children = np.concatenate([tree.children_left, tree.children_right])
            if children.max() >= tree.node_count or tree.feature.max() >= model.n_features_in_ or children.min() < -1:
                raise CorruptStore(
                    "A tree of the saved forest points outside itself; do not trust this file. Fit the head again."
                )
        return cls(model, classes, {})


def fit_forest(features: Features, codes: Codes, classes: int, spec: ForestSpec, seed: int) -> Forest:
    """Fit on (n, kept) float32 features and (n,) class numbers; the same seed gives the same forest."""
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(spec.trees, max_depth=spec.max_depth, n_jobs=-1, random_state=seed)
    model.fit(features, codes)
    return Forest(model, classes, {"trees": str(spec.trees), "max depth": str(spec.max_depth or "unlimited")})
