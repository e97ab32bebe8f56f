"""Forests: the same after saving, and refused where somebody changed a tree."""

from __future__ import annotations

import numpy as np
import pytest
import skops.io
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

from trunkline.errors import CorruptStore
from trunkline.heads.forest import Forest, fit_forest
from trunkline.specs import ForestSpec

DATA = load_digits()
PIXELS, DIGITS = DATA.data.astype(np.float32), DATA.target.astype(np.int64)
SPEC = ForestSpec(trees=5, max_depth=4)


@pytest.fixture
def forest() -> Forest:
    return fit_forest(PIXELS[:600], DIGITS[:600], 10, SPEC, seed=0)


def inner_and_leaf(tree) -> tuple[int, int]:
    leaves = tree.children_left == -1
    return int(np.flatnonzero(~leaves)[-1]), int(np.flatnonzero(leaves)[0])


def test_it_is_scikit_learns(forest):
    theirs = RandomForestClassifier(5, max_depth=4, random_state=0).fit(PIXELS[:600], DIGITS[:600])
    np.testing.assert_array_equal(forest.probabilities(PIXELS[600:]), theirs.predict_proba(PIXELS[600:]))
    assert forest.chosen == {"trees": "5", "max depth": "4"}


def test_depth_is_unlimited_unless_said():
    assert fit_forest(PIXELS[:50], DIGITS[:50], 10, ForestSpec(trees=1), seed=0).chosen["max depth"] == "unlimited"


def test_another_seed_is_another_forest(forest):
    other = fit_forest(PIXELS[:600], DIGITS[:600], 10, SPEC, seed=1)
    assert (other.probabilities(PIXELS) != forest.probabilities(PIXELS)).any()


def test_what_is_saved_predicts_the_same(forest):
    files = forest.files()
    assert list(files) == ["forest.skops"]
    np.testing.assert_array_equal(Forest.load(files, 10).probabilities(PIXELS), forest.probabilities(PIXELS))


def test_a_class_that_training_never_saw_has_probability_zero():
    seen = DIGITS[:600] != 3
    forest = fit_forest(PIXELS[:600][seen], DIGITS[:600][seen], 10, SPEC, seed=0)
    found = forest.probabilities(PIXELS[600:])
    assert found.shape == (1197, 10)
    assert not found[:, 3].any()
    np.testing.assert_allclose(found.sum(axis=1), 1)


def beyond(tree):
    tree.children_left[inner_and_leaf(tree)[0]] = tree.node_count


def back_to_the_root(tree):
    tree.children_right[inner_and_leaf(tree)[0]] = 0


def to_itself(tree):
    number = inner_and_leaf(tree)[0]
    tree.children_left[number] = number


def below_a_leaf(tree):
    tree.children_left[inner_and_leaf(tree)[0]] = -5


def half_a_leaf(tree):
    tree.children_right[inner_and_leaf(tree)[0]] = -1


def unknown_feature(tree):
    tree.feature[inner_and_leaf(tree)[0]] = 64


def negative_feature(tree):
    tree.feature[inner_and_leaf(tree)[0]] = -2


@pytest.mark.parametrize(
    "tamper", [beyond, back_to_the_root, to_itself, below_a_leaf, half_a_leaf, unknown_feature, negative_feature]
)
def test_a_tree_that_was_tampered_with_is_refused(forest, tamper):
    """Predicting with it would read foreign memory or never end."""
    tamper(forest.model.estimators_[3].tree_)
    with pytest.raises(CorruptStore, match=r"A tree of the saved forest points outside itself; do not trust this file"):
        Forest.load(forest.files(), 10)


def test_a_file_that_holds_anything_but_a_forest_is_refused(forest):
    class Stranger:
        pass

    Stranger.__module__, Stranger.__qualname__ = "subprocess", "Popen"
    content = forest.files()["forest.skops"]
    import io
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as there, zipfile.ZipFile(out, "w") as changed:
        for name in there.namelist():
            text = there.read(name)
            if name == "schema.json":
                text = text.replace(b'"RandomForestClassifier"', b'"Popen"').replace(
                    b'"sklearn.ensemble._forest"', b'"subprocess"'
                )
            changed.writestr(name, text)
    with pytest.raises(skops.io.exceptions.UntrustedTypesFoundException, match=r"subprocess\.Popen"):
        Forest.load({"forest.skops": out.getvalue()}, 10)
