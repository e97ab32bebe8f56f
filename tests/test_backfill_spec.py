"""What a backfill may be asked, and in which words it is refused."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import validate

from trunkline.errors import SpecError
from trunkline.specs import BackfillSpec, RecipeSpec, validated
from trunkline.specs.backfill import bounds


def spec(**said: Any) -> BackfillSpec:
    return validated(BackfillSpec, {"store": "/store", **said}, "The form")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"rows": "5:3"}, r"'rows' is '5:3': a range begins before it ends; 5 is not before 3"),
        ({"rows": "7:7"}, r"7 is not before 7"),
        ({"rows": "12"}, r"'rows' is '12': a range is first:stop, two whole numbers .* such as 0:100000 or 2048:"),
        ({"rows": ":"}, r"a range is first:stop"),
        ({"batches": "-1:3"}, r"'batches' is '-1:3': a range is first:stop"),
        (
            {"rows": "0:10", "batches": "0:1"},
            r"rows and batches both say which rows; give one of rows, batches, and since with until",
        ),
        ({"rows": "0:10", "since": "2026-01-01", "until": "2026-02-01"}, r"rows and since and until both say which rows"),
        ({"since": "2026-02-01", "until": "2026-01-01"}, r"until \(2026-01-01\) is before since \(2026-02-01\)"),
        ({"since": "yesterday"}, r"'since' is 'yesterday'"),
        ({"recipes": [{}, {}]}, r"names the same recipe twice"),
        ({"recipes": [{"layers": ["a", "a"]}]}, r"names the same one twice"),
        ({"recipes": [{"maps": "kept"}]}, r"maps: kept needs pooling: none"),
        ({"recipes": [{"precision": "bf16"}], "runtime": "tensorflow"}, r"precision bf16 runs on openvino"),
        ({"recipes": [{"backbon": "x"}]}, r"unknown key 'recipes.0.backbon'. Did you mean backbone"),
        ({"slice_images": 10}, r"'slice_images' is 10: .*greater than or equal to 64"),
        ({"max_hours": 0}, r"'max_hours' is 0"),
        ({"max_images": 0}, r"'max_images' is 0"),
        ({"priority": 101}, r"'priority' is 101"),
        ({"price_per_worker_hour": float("nan")}, r"'price_per_worker_hour' is nan"),
    ],
)
def test_what_cannot_be_is_refused_in_words(said: dict[str, Any], words: str):
    with pytest.raises(SpecError, match=words):
        spec(**said)


@pytest.mark.parametrize(("text", "found"), [("0:5", (0, 5)), ("5:", (5, None)), (":7", (0, 7)), ("00010:20", (10, 20))])
def test_a_range_may_be_open(text: str, found: tuple[int, int | None]):
    assert spec(rows=text).rows == text
    assert bounds(text) == found


def test_the_store_alone_is_enough_and_every_field_has_words_for_the_form():
    assert spec() == spec(**spec().model_dump(exclude={"store"}))
    for model in (BackfillSpec, RecipeSpec):
        for name, field in model.model_fields.items():
            assert field.title, name
            assert len(field.description or "") > 15, name


def test_a_recipe_becomes_the_spec_of_a_run_of_it_alone():
    said = spec(
        recipes=[
            {"backbone": "resnet50", "layers": ["x"], "pooling": "max", "dtype": "float16"},
            {"preparation": {"fit": "pad"}},
        ],
        storage={"format": "hdf5", "rows_per_shard": 64},
        engine={"batch": 4},
        cluster={"kind": "inline"},
        max_bad_fraction=0.5,
        runtime="openvino",
    )
    first, second = (said.run_spec(recipe, "/images", "photos") for recipe in said.recipes)
    assert (first.source, first.store, first.dataset_name) == ("/images", "/store", "photos")
    assert (first.backbone, first.layers, first.pooling, first.storage.dtype) == ("resnet50", ("x",), "max", "float16")
    assert (second.backbone, second.preparation.fit, second.storage.dtype) == ("efficientnet-lite0", "pad", "float32")
    for each in (first, second):
        assert (each.storage.format, each.storage.rows_per_shard, each.engine.batch) == ("hdf5", 64, 4)
        assert (each.cluster.kind, each.max_bad_fraction, each.runtime) == ("inline", 0.5, "openvino")
    assert [recipe.said for recipe in said.recipes] == ["resnet50 at x (max)", "efficientnet-lite0"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, ""),
        ({"rows": "0:5", "max_images": 10, "recipes": [{"backbone": "resnet50"}]}, ""),
        ({"rows": None, "batches": ":3", "since": None}, ""),
        ({"since": "2026-01-01", "until": "2026-02-01"}, ""),
        ({"rows": "5"}, "'5' does not match"),
        ({"rows": ":"}, "':' does not match"),
        ({"rows": "0:5", "batches": "0:1"}, "is not one of [None]"),
        ({"batches": "0:1", "until": "2026-01-01"}, "is not one of [None]"),
        ({"recipes": [{"maps": "kept", "pooling": "avg"}]}, "'avg' is not one of ['none']"),
        ({"priority": 1000}, "1000 is greater than the maximum of 100"),
        ({"what": 1}, "'what' was unexpected"),
    ],
)
def test_the_server_refuses_a_wrong_form_before_a_run_starts(said: dict[str, Any], words: str):
    schema = parameter_schema(_flow).model_dump_for_openapi()
    found = validate({"spec": {"store": "/store", **said}}, schema, raise_on_error=False, preprocess=True)
    problems = " ".join(error.message for error in found)
    assert (words in problems) if words else not problems


def _flow(spec: BackfillSpec) -> None:
    """Its parameters make the form."""
