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
        """Skops builds scikit-learn's own types alone; the trees' node numbers are checked: a wrong one crashes or never ends."""
        import skops.io

        model = skops.io.loads(files["forest.skops"], trusted=["sklearn.tree._tree.Tree"])
        if not all(_is_sound(estimator.tree_, model.n_features_in_) for estimator in model.estimators_):
            raise CorruptStore("A tree of the saved forest points outside itself; do not trust this file. Fit the head again.")
        return cls(model, classes, {})


def _is_sound(tree: Any, features: int) -> bool:
    """Every inner node has two children further down and a feature there is; a leaf has none."""
    left, right, leaf = tree.children_left, tree.children_right, tree.children_left == -1
    numbers = np.arange(tree.node_count)[~leaf]
    children = np.stack([left[~leaf], right[~leaf]])
    tested = tree.feature[~leaf]
    return bool(
        (right[leaf] == -1).all()
        and (children > numbers).all()
        and (children < tree.node_count).all()
        and (tested >= 0).all()
        and (tested < features).all()
    )


def fit_forest(features: Features, codes: Codes, classes: int, spec: ForestSpec, seed: int) -> Forest:
    """Fit on (n, kept) float32 features and (n,) class numbers; the same seed gives the same forest."""
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(spec.trees, max_depth=spec.max_depth, n_jobs=-1, random_state=seed)
    model.fit(features, codes)
    model.set_params(n_jobs=1)  # trees added up in parallel come in another order each time, which moves the last bits
    return Forest(model, classes, {"trees": str(spec.trees), "max depth": str(spec.max_depth or "unlimited")})
