"""Trees as a skops file: scikit-learn's own types alone, and node numbers that are checked before anything follows them.

A tree whose numbers point outside itself makes scikit-learn read foreign memory or never end, so a file is looked at twice: its arrays'
sizes before the trees are made, and every node after.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from trunkline.errors import CorruptStore
from trunkline.heads.targets import Target

TREE = "sklearn.tree._tree.Tree"
MAX_EXPANSION, EXPANSION_FLOOR = 200, 1 << 20
_DATE = (1980, 1, 1, 0, 0, 0)


def dumped(model: Any) -> bytes:
    """The file, the same bytes for the same model: skops names things by their place in memory and writes the time."""
    import skops.io

    out, numbers = io.BytesIO(), dict[str, str]()

    def numbered(found: re.Match[str]) -> str:
        return f"{found[1]}{numbers.setdefault(found[2], str(len(numbers) + 1))}"

    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(model))) as there:
        schema = re.sub(r'("__id__": |"file": ")(\d+)', numbered, there.read("schema.json").decode())
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            named = {
                (numbers[stem] + dot + kind): name
                for name in there.namelist()
                for stem, dot, kind in [name.partition(".")]
                if name != "schema.json"
            }
            for name in sorted(named, key=lambda name: int(name.partition(".")[0])):
                _write(archive, name, there.read(named[name]))
            _write(archive, "schema.json", schema.encode())
    return out.getvalue()


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    member = zipfile.ZipInfo(name, _DATE)
    member.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(member, content, compresslevel=1)


def loaded(content: bytes, name: str, target: Target) -> Any:
    """The model. Raises CorruptStore for a damaged file, and for one that holds anything but sound trees for this target."""
    import skops.io

    try:
        _refuse_odd_archive(content, target)
        model = skops.io.loads(content, trusted=[TREE])
        wrong = _what_is_wrong(model, target)
    except Exception as error:  # zipfile, JSON, NumPy and skops raise many kinds for what is damaged or not theirs
        words = " ".join(str(error).split())[:300]
        raise CorruptStore(
            f"{name} of the saved head is damaged, or holds something other than trees ({type(error).__name__}: {words}). Delete the head: "
            "it is fitted again."
        ) from error
    if wrong:
        raise CorruptStore(f"{name} of the saved head {wrong}; do not trust this file. Delete the head: it is fitted again.")
    return model


def estimators_of(model: Any) -> Sequence[Any]:
    """The trees of a forest, or the tree itself."""
    found: Sequence[Any] = getattr(model, "estimators_", [model])
    return found


def classes_by_output(model: Any) -> Sequence[Any]:
    """Of each output its classes; scikit-learn lists them only where there are several."""
    found: Sequence[Any] = model.classes_ if model.n_outputs_ > 1 else [model.classes_]
    return found


def _refuse_odd_archive(content: bytes, target: Target) -> None:
    """Raises ValueError for members that would fill the memory, and for trees that say they have more outputs than they list."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        declared = sum(member.file_size for member in archive.infolist())
        if declared > max(EXPANSION_FLOOR, MAX_EXPANSION * len(content)):
            raise ValueError(f"{len(content):,} bytes that say they are {declared:,}")
        schema = json.loads(archive.read("schema.json"))
        _refuse_two_things_of_one_name(schema)
        for said in _trees_of(schema):
            arguments = said["__reduce__"]["args"]["content"]
            with archive.open(arguments[1]["file"]) as file:
                classes = np.load(file, allow_pickle=False)
            outputs = int(arguments[2]["content"])
            if int(arguments[0]["content"]) < 1 or classes.shape != (outputs,) or outputs not in (1, target.outputs):
                raise ValueError(f"a tree of {outputs} outputs with classes for {classes.shape}")


def _trees_of(schema: Any) -> Iterator[dict[str, Any]]:
    return (thing for thing in _nodes(schema) if thing.get("__loader__") == "TreeNode")


def _refuse_two_things_of_one_name(schema: Any) -> None:
    """Skops makes a thing once for each `__id__`, so a second one of that name would be something else than what stands there."""
    seen: dict[Any, str] = {}
    for thing in _nodes(schema):
        if "__id__" in thing:
            said = thing.get("content")
            what = json.dumps([thing.get("__loader__"), thing.get("file"), said if _is_shared(thing) else None])
            if seen.setdefault(thing["__id__"], what) != what:
                raise ValueError(f"two things of the name {thing['__id__']}")


def _is_shared(thing: dict[str, Any]) -> bool:
    return isinstance(thing.get("content"), str) or thing.get("__loader__") == "TupleNode"


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    todo = [schema]
    while todo:
        thing = todo.pop()
        if isinstance(thing, dict):
            yield thing
            todo += thing.values()
        elif isinstance(thing, list):
            todo += thing


def _what_is_wrong(model: Any, target: Target) -> str:
    """In words, or nothing."""
    from sklearn import ensemble, tree

    numbers = target.kind == "regression"
    single = tree.DecisionTreeRegressor if numbers else tree.DecisionTreeClassifier
    forest = ensemble.RandomForestRegressor if numbers else ensemble.RandomForestClassifier
    if type(model) not in (single, forest):
        return f"holds a {type(model).__name__}, and not trees for {target.kind}"
    estimators = estimators_of(model)
    if type(estimators) is not list or not estimators or any(type(each) is not single for each in estimators):
        return "holds something other than trees in its forest"
    outputs = target.outputs if target.kind == "multilabel" else 1
    if model.n_outputs_ != outputs or not (numbers or _are_classes(model, target)):
        return f"is for other classes than the {target.outputs} of this head"
    counts = [1] * outputs if numbers else [len(each) for each in classes_by_output(model)]
    if not all(_is_sound(each.tree_, model.n_features_in_, counts) for each in estimators):
        return "has a tree that points outside itself"
    return ""


def _are_classes(model: Any, target: Target) -> bool:
    most = target.outputs if target.kind == "classes" else 2
    lists = [np.asarray(each) for each in classes_by_output(model)]
    sound = all(
        each.ndim == 1 and each.dtype.kind in "iu" and len(each) and each.min() >= 0 and each.max() < most for each in lists
    )
    return sound and len(lists) == model.n_outputs_ and all(len(set(each.tolist())) == len(each) for each in lists)


def _is_sound(tree: Any, features: int, counts: Sequence[int]) -> bool:
    """Every inner node has two children further down and a feature there is; a leaf has none; each node has a finite value an output."""
    if tree.node_count < 1 or tree.n_features != features:
        return False
    if tree.n_outputs != len(counts) or np.atleast_1d(tree.n_classes).tolist() != list(counts):
        return False
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
        and np.isfinite(tree.value).all()
    )
