"""Specs: what they refuse and in which words, and digests that stay what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError, create_model

from trunkline.errors import SpecError
from trunkline.specs import (
    ForestSpec,
    MlpSpec,
    Recipe,
    RunSpec,
    SelectSpec,
    SoftmaxSpec,
    Spec,
    build_spec,
    digest_of,
    load_yaml,
)

MINIMAL: dict[str, Any] = {"source": "/images", "store": "/store"}
RECIPE = Recipe(
    backbone="efficientnet-lite0",
    weights="0" * 64,
    layers=("avg_pool",),
    size=224,
    fit="crop",
    kernel="bilinear",
    decoder="libjpeg-turbo+pillow/1",
    normalisation="(x - 127) / 128",
    precision="f32",
    dtype="float32",
)
OTHER_VALUES = {
    "backbone": "efficientnet-lite1",
    "weights": "1" * 64,
    "layers": ("head_relu",),
    "size": 240,
    "fit": "stretch",
    "kernel": "area",
    "decoder": "libjpeg-turbo+pillow/2",
    "normalisation": "x",
    "precision": "bf16",
    "dtype": "float16",
    "pooling": "max",
    "maps": "kept",
    "antialias": True,
    "exif": "ignored",
    "decode": "scaled",
    "pixels": "float32",
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def test_the_digests_that_name_stored_features_never_change():
    """A change here makes every store's features be extracted again: raise a version in a recipe's field instead."""
    assert RECIPE.digest() == "fba3ce1695ccb726"
    assert SelectSpec().digest() == "44136fa355b3678a"
    assert SelectSpec(threshold=0.1).digest() == "651df5db6d62deaa"
    assert digest_of({"a": 1}) == "015abd7f5cc57a2d"


@pytest.mark.parametrize("field", Recipe.model_fields)
def test_every_part_of_a_recipe_enters_its_digest(field):
    assert RECIPE.model_copy(update={field: OTHER_VALUES[field]}).digest() != RECIPE.digest()


@pytest.mark.parametrize("model", [RECIPE, SelectSpec(), SelectSpec(threshold=0.1), SoftmaxSpec(C=(0.5,))])
def test_a_new_optional_field_at_its_default_changes_no_digest(model: Spec):
    later = create_model("Later", __base__=type(model), novelty=(int, 7))
    assert later(**model.model_dump()).digest() == model.digest()
    assert later(**model.model_dump(), novelty=8).digest() != model.digest()


def test_saying_a_default_aloud_changes_no_digest():
    assert SelectSpec(relative_threshold=0.05).digest() == SelectSpec().digest()
    assert SelectSpec(relative_threshold=0.06).digest() != SelectSpec().digest()


def test_a_digest_survives_json():
    assert Recipe.model_validate_json(RECIPE.model_dump_json()).digest() == RECIPE.digest()


@given(st.dictionaries(st.text(), json_values, min_size=2, max_size=5))
def test_the_order_of_keys_is_no_part_of_a_digest(value):
    assert digest_of(dict(reversed(value.items()))) == digest_of(value)


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, "1"), (0, False), (None, "null"), ([1, 2], [12]), ({"a": {"b": 1}}, {"a.b": 1}), ("a", "A"), ("é", "e"), ([], {})],
)
def test_near_values_have_other_digests(one, other):
    assert digest_of({"x": one}) != digest_of({"x": other})


def test_specs_are_frozen():
    with pytest.raises(ValidationError, match="Instance is frozen"):
        SelectSpec().threshold = 1.0  # type: ignore[misc]


def test_the_smallest_spec_has_the_defaults():
    spec = build_spec(MINIMAL, "here")
    assert spec == RunSpec(source="/images", store="/store")
    assert (spec.backbone, spec.layers, spec.heads) == ("efficientnet-lite0", (), (SoftmaxSpec(), ForestSpec()))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sorce": "x"}, r"here: unknown key 'sorce'\. Did you mean source"),
        ({"select": {"treshold": 1}}, r"unknown key 'select\.treshold'\. Did you mean threshold"),
        ({"zzzzzzzz": 1}, r"unknown key 'zzzzzzzz'\.$"),
        ({"storage": {"rows_per_shard": 100}}, r"'storage\.rows_per_shard' is 100: must be 64, 128, 256, 512 or 1024"),
        (
            {"heads": [{"kind": "softmax", "C": [1.0, 0.0]}]},
            r"'heads\.0\.softmax\.C\.1' is 0\.0: input should be greater than 0",
        ),
        ({"heads": [{"kind": "softmax", "C": []}]}, r"at least 1 item"),
        ({"heads": [{"kind": "softmax", "C": [1.0, 1.0]}]}, r"names the same candidate twice"),
        ({"heads": [{"kind": "oracle"}]}, r"'heads\.0' is .*'softmax', 'svm', 'ridge'"),
        ({"heads": [{"kind": "mlp", "widths": [[0]]}]}, r"greater than or equal to 1"),
        ({"heads": [{"kind": "boosted", "rounds": [], "max_depth": 3}]}, r"at least 1 item"),
        (
            {"heads": [{"kind": "boosted", "rounds": list(range(1, 101)), "learning_rate": [n / 200 for n in range(1, 101)]}]},
            r"a grid of 10,000 candidates \(100 rounds × 100 learning_rate\), each fitted once a fold; at most 500",
        ),
        (
            {"heads": [{"kind": "centroid"}], "target": {"kind": "regression"}},
            r"the head centroid cannot predict regression; those that can: ridge, knn, tree, forest, boosted, mlp",
        ),
        ({"layers": ["avg_pool", "avg_pool"]}, r"'layers' is .*names the same one twice"),
        ({"heads": [{"kind": "forest"}, {"kind": "forest"}]}, r"'heads' is .*names the same one twice"),
        ({"dataset": "../x"}, r"'dataset' is '\.\./x': .*pattern"),
        ({"dataset": ""}, r"'dataset' is '': .*pattern"),
        ({"preparation": {"size": 8}}, r"'preparation\.size' is 8: .*greater than or equal to 16"),
        ({"preparation": {"fit": "squash"}}, r"'preparation\.fit' is 'squash': .*'crop', 'stretch' or 'pad'"),
        (
            {"preparation": {"preset": "keras", "fit": "crop", "exif": "ignored"}},
            r"the preset keras fixes exif; leave that out",
        ),
        ({"preparation": {"kernel": "area", "antialias": True}}, r"the kernel area averages already"),
        ({"maps": "kept"}, r"here: maps: kept needs pooling: none"),
        ({"precision": "bf16", "runtime": "tensorflow"}, r"precision bf16 runs on openvino"),
        ({"precision": "mixed_float16", "runtime": "openvino"}, r"precision mixed_float16 runs on tensorflow"),
        ({"engine": {"in_flight_mib": 1}}, r"'engine\.in_flight_mib' is 1: .*greater than or equal to 16"),
        ({"engine": {"bach": 8}}, r"unknown key 'engine\.bach'\. Did you mean batch"),
        ({"split": {"test_fraction": 1.0}}, r"'split\.test_fraction' is 1\.0: .*less than 1"),
        ({"max_bad_fraction": -0.1}, r"'max_bad_fraction' is -0\.1: .*greater than or equal to 0"),
        (
            {"cluster": {"kind": "address"}},
            r"here: 'cluster': kind is 'address' and address is missing: name the scheduler, such as tcp",
        ),
        (
            {"cluster": {"minimum": 3, "workers": 2}},
            r"'cluster': minimum is 3 and workers, the most there may be, is 2: make minimum",
        ),
        ({"cluster": {"kind": "kubernetes"}}, r"kind kubernetes needs workers, how many pods, and kubernetes\.image"),
        ({"cluster": {"kind": "kubernetes", "workers": 2}}, r"needs workers, how many pods, and kubernetes\.image"),
        ({"cluster": {"tls": {"ca": "ca.pem"}}}, r"'cluster\.tls': TLS needs both files, ca and certificate"),
        ({"cluster": {"kind": "slurm"}}, r"'auto', 'inline', 'local', 'cuda', 'address' or 'kubernetes'"),
        *(
            (
                {"cluster": {"address": address}},
                rf"'cluster\.address' is '{address}': a scheduler's address looks like tcp://host:8786",
            )
            for address in ("localhost", "foo:bar", "nonsense://x:1")
        ),
        ({"cluster": {"kubernetes": {"memory": "lots"}}}, r"'cluster\.kubernetes\.memory' is 'lots'"),
        ({"cluster": {"kubernetes": {"secret": "Not_A_Name"}}}, r"'cluster\.kubernetes\.secret' is 'Not_A_Name'"),
        ({"cluster": {"patience": -1}}, r"'cluster\.patience' is -1: .*greater than or equal to 0"),
        ({"cluster": {"workers": 0}}, r"'cluster\.workers' is 0: .*greater than or equal to 1"),
        ({"columns": {"uri": "a", "image": "b"}}, r"'columns': a table leads to images by a column of URIs or holds them"),
        ({"columns": {"size": "b"}}, r"'columns': a column of sizes needs a column of versions"),
        ({"columns": {"labels": "b"}}, r"unknown key 'columns\.labels'\. Did you mean labels or label"),
        ({"source_kind": "zip"}, r"'source_kind' is 'zip': .*'folder', 'glob', 'table', 'tar' or 'bytes'"),
        ({"source": None}, r"'source' is None: .*valid string"),
    ],
)
def test_a_wrong_spec_is_refused_in_words(change, words):
    with pytest.raises(SpecError, match=words):
        build_spec(MINIMAL | change, "here")


def test_all_problems_are_said_at_once():
    with pytest.raises(
        SpecError, match=r"^spec\.yaml: 'store' is missing; it has no default; unknown key 'sede'\. Did you mean seed"
    ):
        build_spec({"source": "x", "sede": 3}, "spec.yaml")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/data/photos/", "photos"),
        ("s3://bucket/my photos (1)", "my-photos--1"),
        ("/data/..hidden", "hidden"),
        ("/data/漢字", "images"),
        ("s3://bucket/2026-*/**/*.jpg", "bucket"),
        ("shards/train-*.tar", "shards"),
        ("*.jpg", "images"),
        ("s3://bucket/photos.csv", "photos.csv"),
        ("/", "images"),
        ("/data/" + "x" * 100, "x" * 64),
    ],
)
def test_a_dataset_is_named_after_its_source(source, name):
    spec = RunSpec(source=source, store="/store")
    assert spec.dataset_name == name
    assert RunSpec(source=source, store="/store", dataset=name).dataset_name == name  # it is a valid name


def test_a_given_name_wins():
    assert RunSpec(source="/data/photos", store="/store", dataset="fruit").dataset_name == "fruit"


@given(st.text(min_size=1, max_size=100))
def test_any_source_gives_a_valid_name(source):
    name = RunSpec(source=source, store="/store").dataset_name
    assert RunSpec(source=source, store="/store", dataset=name).dataset == name


def test_a_single_value_is_one_candidate():
    assert SoftmaxSpec(C=0.1) == SoftmaxSpec(C=(0.1,))
    assert MlpSpec(widths=[64, 32]).widths == ((64, 32),)
    assert MlpSpec(widths=[[64, 32], []]).widths == ((64, 32), ())
    assert ForestSpec(max_depth=[3, None]).max_depth == (3, None)


def test_lists_make_a_grid_in_the_order_of_the_fields():
    spec = ForestSpec(trees=(10, 20), max_depth=(3, None))
    assert dict(spec.axes) == {"trees": (10, 20), "max_depth": (3, None)}
    found = [(each.trees[0], each.max_depth[0]) for each in spec.candidates()]
    assert found == [(10, 3), (10, None), (20, 3), (20, None)]
    assert [*ForestSpec().candidates()] == [ForestSpec()]


def test_a_regression_has_heads_that_predict_numbers():
    spec = RunSpec(source="a", store="b", target={"kind": "regression"})
    assert [head.kind for head in spec.heads] == ["ridge", "forest"]
    assert [head.kind for head in RunSpec(source="a", store="b").heads] == ["softmax", "forest"]


def test_yaml_is_read(tmp_path: Path):
    path = tmp_path / "spec.yaml"
    path.write_text("source: /bilder/größe\nstore: /store\nheads:\n  - kind: forest\n    trees: 3\n", encoding="utf-8")
    assert load_yaml(str(path)) == RunSpec(source="/bilder/größe", store="/store", heads=(ForestSpec(trees=3),))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"source: [", r"spec\.yaml is not YAML: .*line 1"),
        (b"source: \xff\xfe", r"spec\.yaml is not YAML: .*codec"),
        (b"a: !!python/object/apply:os.system ['true']", r"is not YAML: .*could not determine a constructor"),
        (b"", r"holds no mapping of keys to values\. `trunkline init` writes one"),
        (b"- a\n- b\n", r"holds no mapping of keys to values"),
        (b"source: x\n", r"spec\.yaml: 'store' is missing"),
        (b"1: 2\nsource: x\nstore: y\n", r"spec\.yaml: "),
    ],
)
def test_a_broken_file_is_refused_in_words(tmp_path, content, words):
    (tmp_path / "spec.yaml").write_bytes(content)
    with pytest.raises(SpecError, match=words):
        load_yaml(str(tmp_path / "spec.yaml"))


@pytest.mark.parametrize(("name", "words"), [("nothing.yaml", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_said(tmp_path, name, words):
    with pytest.raises(SpecError, match=rf"Cannot read the spec .*: {words}.*`trunkline init` writes one to start from"):
        load_yaml(str(tmp_path / name))
