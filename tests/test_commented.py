"""The spec that `trunkline init` writes: complete, explained, and read back as the defaults."""

from __future__ import annotations

import pytest
import yaml
from pydantic import BaseModel

from trunkline.commented import HEADER, commented_spec
from trunkline.specs import ForestSpec, RunSpec, SoftmaxSpec, load_yaml

HARD = ["/data/images", "s3://bucket/a b", "it's: #1 {x}", "größe 漢字", "- *x", "null", "1e3", "line\nbreak", " ", "~"]


@pytest.mark.parametrize("source", HARD)
def test_it_reads_back_as_the_defaults(tmp_path, source):
    path = tmp_path / "spec.yaml"
    path.write_text(commented_spec(source, "/store: 2"), encoding="utf-8")
    assert load_yaml(str(path)) == RunSpec(source=source, store="/store: 2")


def keys(model: type[BaseModel]) -> set[str]:
    return set(model.model_fields)


def test_every_key_is_there():
    said = yaml.safe_load(commented_spec("a", "b"))
    assert set(said) == keys(RunSpec)
    for name, field in RunSpec.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            assert set(said[name]) == keys(field.annotation)
    assert [set(head) for head in said["heads"]] == [keys(SoftmaxSpec), keys(ForestSpec)]


def test_every_description_stands_above_its_key():
    lines = commented_spec("a", "b").splitlines()
    for name, field in RunSpec.model_fields.items():
        if field.description:
            [at] = [number for number, line in enumerate(lines) if line.startswith(f"{name}:")]
            assert lines[at - 1] == f"# {field.description}"


def test_it_starts_with_what_it_is():
    text = commented_spec("a", "b")
    assert text.startswith(HEADER)
    assert text.endswith("\n")
    assert all(line.startswith("#") for line in HEADER.splitlines())
