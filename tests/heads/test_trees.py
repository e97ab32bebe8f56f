"""Trees and forests: scikit-learn's own, the same on Dask workers, and refused where somebody changed a tree."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.tree import DecisionTreeClassifier

from tests.heads.made import CLASSES, DIGITS, LABELS, PIXELS, TRAINING, VALUE, data_of, truth_as
from trunkline.clusters import Cluster
from trunkline.errors import CorruptStore
from trunkline.fan_out import SerialExecutor
from trunkline.heads import trees, trees_file
from trunkline.heads.protocol import Work
from trunkline.heads.targets import Target
from trunkline.heads.trees import FILE, Trees, fit_trees
from trunkline.specs import ClusterSpec, ForestSpec, TreeSpec

SPEC = ForestSpec(trees=5, max_depth=4)
HERE = SerialExecutor(threads=1)


@pytest.fixture
def forest() -> Trees:
    return fit_trees(SPEC, data_of(), Work(HERE))


def test_a_forest_is_scikit_learns(forest):
    theirs = RandomForestClassifier(5, max_depth=4, random_state=0).fit(PIXELS[:TRAINING], DIGITS[:TRAINING])
    np.testing.assert_array_equal(forest.outputs(PIXELS), theirs.predict_proba(PIXELS))
    assert forest.chosen == {"trees": "5", "max depth": "4", "min samples leaf": "1", "chosen by": "the only one"}


def test_a_tree_is_scikit_learns_with_its_balanced_weights():
    mine = fit_trees(TreeSpec(max_depth=5, class_weight="balanced"), data_of(), Work(HERE))
    theirs = DecisionTreeClassifier(max_depth=5, class_weight="balanced", random_state=0)
    theirs.fit(PIXELS[:TRAINING], DIGITS[:TRAINING])
    found, expected = mine.outputs(PIXELS), theirs.predict_proba(PIXELS)
    assert (np.abs(found - expected).max(axis=1) < 1e-5).mean() > 0.9  # our weights are float32: a tie may fall otherwise


def test_a_regression_forest_tries_a_third_of_the_features():
    theirs = RandomForestRegressor(5, max_depth=4, max_features=1 / 3, random_state=0)
    theirs.fit(PIXELS[:TRAINING], truth_as(VALUE, DIGITS)[:TRAINING])
    mine = fit_trees(SPEC, data_of(VALUE), Work(HERE))
    np.testing.assert_array_equal(mine.outputs(PIXELS)[:, 0], theirs.predict(PIXELS))


def test_several_labels_are_one_forest():
    theirs = RandomForestClassifier(5, max_depth=4, random_state=0)
    theirs.fit(PIXELS[:TRAINING], truth_as(LABELS, DIGITS)[:TRAINING].astype(np.int8))
    expected = np.stack([each[:, 1] for each in theirs.predict_proba(PIXELS)], axis=1)
    np.testing.assert_array_equal(fit_trees(SPEC, data_of(LABELS), Work(HERE)).outputs(PIXELS), expected)


def test_depth_is_unlimited_unless_said():
    assert fit_trees(ForestSpec(trees=1), data_of(), Work(HERE)).chosen["max depth"] == "unlimited"


def test_a_class_that_training_never_saw_has_probability_zero():
    data = data_of(rows=np.flatnonzero(DIGITS[:TRAINING] != 3))
    forest = fit_trees(SPEC, data, Work(HERE))
    found = Trees.load(forest.files(), CLASSES).outputs(PIXELS)
    assert not found[:, 3].any()
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_labels_that_no_image_or_every_image_has_are_predicted_so():
    digits = np.where(np.isin(DIGITS, (2, 3, 5, 7)), DIGITS, 2)  # all of them prime
    rows = np.flatnonzero(digits < 5)  # none of them large
    forest = fit_trees(SPEC, data_of(LABELS, rows, digits=digits), Work(HERE))
    found = Trees.load(forest.files(), LABELS).outputs(PIXELS)
    assert not found[:, 1].any()
    assert (found[:, 2] == 1).all()
    single = Target("multilabel", ("even",))
    one = data_of(LABELS)
    one = type(one)(one.reader, None, 64, one.rows, single, one.truth[:, :1], one.folds, HERE)
    assert fit_trees(SPEC, one, Work(HERE)).outputs(PIXELS).shape == (len(PIXELS), 1)


def test_a_large_forest_is_grown_on_the_workers_and_is_the_same_bit_for_bit(forest, monkeypatch):
    with Cluster(ClusterSpec(kind="local", workers=2)) as cluster:
        executor = cluster.executor
        executor.client.run_on_scheduler(_note_tasks)
        monkeypatch.setattr(trees, "DISTRIBUTED_FROM", 0)
        there = fit_trees(SPEC, data_of(executor=executor), Work(executor))
        calls = executor.client.run_on_scheduler(_names_of_tasks)
        monkeypatch.setattr(trees, "DISTRIBUTED_FROM", 1e9)
        small = fit_trees(SPEC, data_of(executor=executor), Work(executor))
    assert any("_parallel_build_trees" in name for name in calls)
    np.testing.assert_array_equal(there.outputs(PIXELS), forest.outputs(PIXELS))
    np.testing.assert_array_equal(small.outputs(PIXELS), forest.outputs(PIXELS))


def _note_tasks(dask_scheduler) -> None:
    from distributed import SchedulerPlugin

    class Names(SchedulerPlugin):
        def transition(self, key, start, finish, *args, **kwargs) -> None:  # noqa: ARG002
            if finish == "processing":
                dask_scheduler.names_of_tasks.append(str(key))

    dask_scheduler.names_of_tasks = []
    dask_scheduler.add_plugin(Names())


def _names_of_tasks(dask_scheduler) -> list[str]:
    return dask_scheduler.names_of_tasks


def inner_and_leaf(tree) -> tuple[int, int]:
    leaves = tree.children_left == -1
    return int(np.flatnonzero(~leaves)[-1]), int(np.flatnonzero(leaves)[0])


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


def no_number(tree):
    tree.value[0] = np.nan


@pytest.mark.parametrize(
    "tamper", [beyond, back_to_the_root, to_itself, below_a_leaf, half_a_leaf, unknown_feature, negative_feature, no_number]
)
def test_a_tree_that_was_tampered_with_is_refused(forest, tamper):
    """Predicting with it would read foreign memory or never end."""
    tamper(forest.model.estimators_[3].tree_)
    with pytest.raises(CorruptStore, match=r"has a tree that points outside itself; do not trust this file"):
        Trees.load(forest.files(), CLASSES)


def changed(content: bytes, change: Callable[[str], str]) -> bytes:
    """The file with another schema."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as there, zipfile.ZipFile(out, "w") as archive:
        for name in there.namelist():
            text = there.read(name)
            archive.writestr(name, change(text.decode()).encode() if name == "schema.json" else text)
    return out.getvalue()


def first_tree(text: str, change: Callable[[dict], None]) -> str:
    said = json.loads(text)
    change(next(trees_file._trees_of(said)))
    return json.dumps(said)


def all_of_that_name(text: str, change: Callable[[dict], None]) -> str:
    """The change, and the same wherever the thing stands again."""
    said = json.loads(text)
    tree = next(trees_file._trees_of(said))
    before = {each["__id__"]: json.dumps(each) for each in trees_file._nodes(tree) if "__id__" in each}
    change(tree)
    after = {each["__id__"]: each for each in trees_file._nodes(tree) if "__id__" in each}
    for each in trees_file._nodes(said):
        name = each.get("__id__")
        if name in after and json.dumps(after[name]) != before[name] and "content" in each and isinstance(each["content"], str):
            each["content"] = after[name]["content"]
    return json.dumps(said)


def many_outputs(tree):
    tree["__reduce__"]["args"]["content"][2]["content"] = "1000000"


def many_nodes(tree):
    tree["content"]["content"]["node_count"]["content"] = "1000000"


def no_features(tree):
    tree["__reduce__"]["args"]["content"][0]["content"] = "0"


@pytest.mark.parametrize("change", [many_outputs, no_features])
def test_a_tree_that_says_it_is_larger_than_it_is_is_refused(change):
    """Before scikit-learn reads what is not there."""
    single = fit_trees(TreeSpec(max_depth=4), data_of(), Work(HERE)).files()[FILE]
    content = changed(single, lambda text: all_of_that_name(text, change))
    with pytest.raises(CorruptStore, match=r"a tree of 10{0,6} outputs"):
        Trees.load({FILE: content}, CLASSES)


def test_a_file_with_two_things_of_one_name_is_refused(forest):
    """Skops would make the first one and take it for the second."""
    content = changed(forest.files()[FILE], lambda text: first_tree(text, many_nodes))
    with pytest.raises(CorruptStore, match=r"two things of the name"):
        Trees.load({FILE: content}, CLASSES)


@pytest.mark.parametrize(
    ("module", "name"),
    [("subprocess", "Popen"), ("builtins", "eval"), ("sklearn.linear_model._logistic", "LogisticRegression")],
)
def test_a_file_that_holds_anything_but_a_forest_is_refused(forest, module, name):
    def stranger(text: str) -> str:
        return text.replace('"RandomForestClassifier"', f'"{name}"').replace('"sklearn.ensemble._forest"', f'"{module}"')

    with pytest.raises(CorruptStore, match=name):
        Trees.load({FILE: changed(forest.files()[FILE], stranger)}, CLASSES)


def test_other_models_of_scikit_learn_are_refused():
    model = ExtraTreesClassifier(2, max_depth=2).fit(PIXELS[:100], DIGITS[:100])
    with pytest.raises(CorruptStore, match=r"holds a ExtraTreesClassifier, and not trees for classes"):
        Trees.load({FILE: trees_file.dumped(model)}, CLASSES)


def test_a_forest_of_strangers_is_refused(forest):
    forest.model.estimators_[2] = fit_trees(SPEC, data_of(), Work(HERE)).model
    with pytest.raises(CorruptStore, match=r"holds something other than trees in its forest"):
        Trees.load(forest.files(), CLASSES)
    forest.model.estimators_ = []
    with pytest.raises(CorruptStore, match=r"holds something other than trees in its forest"):
        Trees.load(forest.files(), CLASSES)


def test_classes_of_another_head_are_refused(forest):
    with pytest.raises(CorruptStore, match=r"is for other classes than the 4 of this head"):
        Trees.load(forest.files(), Target("classes", tuple("abcd")))
    forest.model.classes_ = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 8])
    with pytest.raises(CorruptStore, match=r"is for other classes than the 10 of this head"):
        Trees.load(forest.files(), CLASSES)


def test_an_archive_that_would_fill_the_memory_is_refused():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", bytes(50 << 20))
    with pytest.raises(CorruptStore, match=r"bytes that say they are 52,428,800"):
        Trees.load({FILE: out.getvalue()}, CLASSES)


def test_class_weights_of_a_regression_are_said_to_do_nothing():
    head = fit_trees(TreeSpec(max_depth=2, class_weight="balanced"), data_of(VALUE), Work(HERE))
    assert head.notes == ("class_weight balanced did nothing: a regression has no classes.",)
