"""A spec as a form: Prefect's own validation refuses each planned wrong value, in words, and takes whatever Python takes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import ValidationError as Refused
from prefect.utilities.schema_tools.validation import is_valid_schema, validate

from trunkline.specs import HEAD_SPECS, BackfillSpec, RunSpec
from trunkline.stages.arrivals import Arrival

MINIMAL: dict[str, Any] = {"source": "/images", "store": "/store"}
ALL_KINDS = "['softmax', 'svm', 'ridge', 'centroid', 'knn', 'tree', 'forest', 'boosted', 'mlp']"


def run(spec: RunSpec, arrived: Arrival | None = None) -> None:
    """What flows take."""


def fill(spec: BackfillSpec) -> None:
    """What a backfill takes."""


SCHEMA: dict[str, Any] = parameter_schema(run).model_dump_for_openapi()
FIELDS: dict[str, Any] = SCHEMA["definitions"]["RunSpec"]["properties"]


def refusal(**said: Any) -> str:
    with pytest.raises(Refused) as refused:
        validate({"spec": MINIMAL | said}, SCHEMA, raise_on_error=True)
    return str(refused.value)


@pytest.mark.parametrize(
    ("said", "field", "why"),
    [
        ({"source": ""}, "spec.source", "'' should be non-empty"),
        ({"dataset": "a b"}, "spec.dataset", "'a b' does not match '^[A-Za-z0-9]"),
        ({"bakcbone": "x"}, "spec", "('bakcbone' was unexpected)"),
        ({"labels": "names"}, "spec.labels", "'names' is not one of ['folders', 'none']"),
        ({"layers": ["a", "a"]}, "spec.layers", "['a', 'a'] has non-unique elements"),
        ({"max_bad_fraction": 2}, "spec.max_bad_fraction", "2 is greater than the maximum of 1.0"),
        ({"cluster": {"workers": 0}}, "spec.cluster.workers", "0 is less than the minimum of 1"),
        ({"heads": [{"kind": "softmx"}]}, "spec.heads[0].kind", f"'softmx' is not one of {ALL_KINDS}"),
        ({"heads": [{}]}, "spec.heads[0]", "'kind' is a required property"),
        ({"heads": [{"kind": "ridge", "C": [1]}]}, "spec.heads[0]", "('C' was unexpected)"),
        ({"heads": [{"kind": "softmax", "C": []}]}, "spec.heads[0].C", "[] should be non-empty"),
        ({"heads": [{"kind": "softmax", "C": [-1]}]}, "spec.heads[0].C[0]", "-1 is less than or equal to the minimum of 0.0"),
        ({"heads": [{"kind": "knn"}, {"kind": "knn"}]}, "spec.heads", "has non-unique elements"),
        (
            {"target": {"kind": "regression"}, "heads": [{"kind": "softmax"}]},
            "spec.heads[0].kind",
            "'softmax' is not one of ['ridge', 'knn', 'tree', 'forest', 'boosted', 'mlp']",
        ),
        ({"maps": "kept", "pooling": "avg"}, "spec.pooling", "'avg' is not one of ['none']"),
        ({"maps": "kept"}, "spec", "'pooling' is a required property"),
        ({"precision": "bf16", "runtime": "tensorflow"}, "spec.runtime", "'tensorflow' is not one of ['auto', 'openvino']"),
        (
            {"precision": "mixed_float16", "runtime": "openvino"},
            "spec.runtime",
            "'openvino' is not one of ['auto', 'tensorflow']",
        ),
        ({"storage": {"rows_per_shard": 100}}, "spec.storage.rows_per_shard", "100 is not one of [64, 128, 256, 512, 1024"),
        ({"storage": {"compression": "lz4"}}, "spec.storage.compression", "'lz4' does not match '^(zstd"),
        (
            {"storage": {"format": "hdf5", "compression": "zstd"}},
            "spec.storage.compression",
            "'zstd' does not match '^(none|gzip",
        ),
        ({"select": {"threshold": 0.5, "quantile": 0.1}}, "spec.select.quantile", "0.1 is not of type 'null'"),
        ({"select": {"threshold": 1, "relative_threshold": 0.1}}, "spec.select.relative_threshold", "0.1 is not one of [0.05]"),
        (
            {"select": {"quantile": 0.5, "relative_threshold": 0.1}},
            "spec.select.relative_threshold",
            "0.1 is not one of [0.05]",
        ),
        ({"preparation": {"preset": "keras", "fit": "pad"}}, "spec.preparation.fit", "'pad' is not one of ['crop']"),
        ({"preparation": {"kernel": "area", "antialias": True}}, "spec.preparation.antialias", "True is not one of [False]"),
        ({"columns": {"uri": "a", "image": "b"}}, "spec.columns.image", "'b' is not of type 'null'"),
        ({"columns": {"size": "a"}}, "spec.columns", "'version' is a required property"),
    ],
)
def test_a_wrong_value_is_refused_in_words(said: dict[str, Any], field: str, why: str) -> None:
    words = refusal(**said)
    assert words.startswith(f"Validation failed for field '{field}'.")
    assert why in words
    with pytest.raises(ValueError, match=r"."):
        RunSpec.model_validate(MINIMAL | said)  # the form is no stricter than Python


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"target": {"kind": "regression"}},
        {"target": {"kind": "multilabel"}, "heads": [{"kind": "svm"}]},
        {"maps": "kept", "pooling": "none"},
        {"preparation": {"preset": "keras", "size": 300}},
        {"storage": {"format": "hdf5", "compression": "gzip-4", "rows_per_shard": 64}},
        {"select": {"threshold": 0.5}},
        {"columns": {"size": "a", "version": "b"}},
        {"heads": [{"kind": each.model_fields["kind"].default} for each in HEAD_SPECS]},
    ],
)
def test_what_python_takes_is_taken_left_out_or_written_out(said: dict[str, Any]) -> None:
    written_out = RunSpec.model_validate(MINIMAL | said).model_dump(mode="json")
    for spec in (MINIMAL | said, written_out):  # written out, what is not given is null
        assert validate({"spec": spec}, SCHEMA) == []


def test_the_schemas_are_json_that_the_server_can_keep() -> None:
    for flow in (run, fill):
        schema = parameter_schema(flow).model_dump_for_openapi()
        is_valid_schema(schema)
        json.dumps(schema, allow_nan=False)


def test_fields_stand_from_common_to_rare_whatever_the_database_does_with_keys() -> None:
    positions = {name: field["position"] for name, field in FIELDS.items()}
    assert sorted(positions.values()) == list(range(len(RunSpec.model_fields)))
    order = sorted(positions, key=positions.__getitem__)
    assert order[:5] == ["source", "store", "dataset", "backbone", "layers"]
    assert order.index("heads") < order.index("preparation") < order.index("engine")


def test_an_optional_field_is_one_field_and_every_field_says_what_it_is() -> None:
    assert FIELDS["dataset"]["type"] == "string"
    assert {"anyOf", "default"}.isdisjoint(FIELDS["dataset"])
    assert FIELDS["heads"]["default"] == [{"kind": "softmax"}, {"kind": "forest"}]
    for name, field in FIELDS.items():
        group = SCHEMA["definitions"].get(field.get("$ref", "").rsplit("/", 1)[-1], {})
        assert field.get("description") or group.get("description"), name


def test_an_event_may_say_more_than_is_asked() -> None:
    spec = {"spec": MINIMAL}
    assert validate(spec | {"arrived": {"source": "s3://bucket/new", "by": "a crawler", "count": 12}}, SCHEMA) == []
    assert validate(spec | {"arrived": {"source": "s3://bucket/new", "dataset": "a b"}}, SCHEMA) != []
