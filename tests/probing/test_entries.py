"""How networks to compare are written."""

from __future__ import annotations

import pytest

from trunkline.errors import SpecError
from trunkline.probing.entries import Entry, entries_of
from trunkline.specs import RunSpec

SPEC = RunSpec(source="/nowhere", store="/nowhere")


@pytest.mark.parametrize(
    ("said", "entry"),
    [
        ("resnet50", Entry("resnet50", None, "avg")),
        ("resnet50@160", Entry("resnet50", 160, "avg")),
        ("resnet50:gem", Entry("resnet50", None, "gem")),
        (" resnet50@160:max ", Entry("resnet50", 160, "max")),
        ("nets/mine.onnx@96", Entry("nets/mine.onnx", 96, "avg")),
        ("s3://me@bucket/nets/mine.keras", Entry("s3://me@bucket/nets/mine.keras", None, "avg")),
        ("s3://bucket/mine.keras@64:gem", Entry("s3://bucket/mine.keras", 64, "gem")),
    ],
)
def test_a_name_a_size_a_pooling(said: str, entry: Entry):
    assert entries_of(said, SPEC) == [entry]
    assert Entry.of(entry.name, SPEC) == entry


def test_several_with_commas_and_the_spec_s_own_size_and_pooling():
    spec = SPEC.model_copy(update={"pooling": "gem", "preparation": SPEC.preparation.model_copy(update={"size": 128})})
    assert entries_of("a,b@64,c:avg", spec) == [Entry("a", 128, "gem"), Entry("b", 64, "gem"), Entry("c", 128, "avg")]


def test_a_run_of_an_entry_keeps_the_rest_of_the_spec():
    spec = SPEC.model_copy(update={"pooling": "none", "maps": "kept", "seed": 3})
    asked = Entry.of("resnet50@160", spec).spec(spec, ["avg_pool"])
    assert (asked.backbone, asked.preparation.size, asked.pooling, asked.maps) == ("resnet50", 160, "avg", "flat")
    assert (asked.layers, asked.seed) == (("avg_pool",), 3)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("resnet50@", "asks for a size of '' pixels; that takes 16 to 4096"),
        ("resnet50@big", "asks for a size of 'big' pixels"),
        ("resnet50@8", "asks for a size of '8' pixels"),
        ("resnet50:gen", "asks for the pooling 'gen'; there are avg, max, gem. Did you mean gem"),
        ("resnet50:none", "asks for the pooling 'none'"),
        ("resnet50,,vgg16", "names nothing between two commas"),
        ("vgg16,resnet50, vgg16", "names vgg16 twice"),
    ],
)
def test_mistakes(said: str, message: str):
    with pytest.raises(SpecError, match=message):
        entries_of(said, SPEC)
