"""The sample: stratified, the same each time, from the training images alone, and what is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from trunkline.errors import DataError, SourceError, SpecError
from trunkline.probing.sample import ROOM, draw, refuse_few_classes
from trunkline.sources import Listed, Source, hashed_split, source_of
from trunkline.specs import RunSpec


def spec_of(source: object, **said: object) -> RunSpec:
    return RunSpec.model_validate({"source": str(source), "store": "/nowhere"} | said)


def write(folder: Path, counts: dict[str, int]) -> Path:
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            (folder / name / f"{number:04d}.png").touch()
    return folder


@dataclass(frozen=True)
class Many:
    """A folder source that lists images which are not there."""

    source: Source
    names: tuple[str, ...]

    def listing(self) -> Iterator[Listed]:
        return (Listed(name, 1, "1") for name in self.names)

    def __getattr__(self, name: str) -> object:
        return getattr(self.source, name)


def many(tmp_path: Path, counts: dict[str, int], train: str = "train/") -> tuple[Many, RunSpec]:
    names = tuple(f"{train}{label}/{number:06d}.jpg" for label, count in counts.items() for number in range(count))
    spec = spec_of(tmp_path)
    tests = (f"test/{label}/1.jpg" for label in counts) if train else ()
    return Many(source_of(spec), (*names, *tests)), spec


def counted(sample) -> dict[str, int]:
    return {sample.classes[number]: count for number, count in Counter(sample.labels).items()}


def test_classes_in_proportion_with_a_least(tmp_path: Path):
    source, spec = many(tmp_path, {"a": 6_000, "b": 3_000, "c": 8})
    sample = draw(source, spec, 300)
    found = counted(sample)
    assert found == {"a": 200, "b": 100, "c": 5}
    assert (sample.listed, sample.training) == (9_011, 9_008)
    assert {image.id.split("/")[1] for image, number in zip(sample.images, sample.labels, strict=True) if number == 1} == {"b"}


def test_only_training_images_and_never_one_twice(tmp_path: Path):
    source, spec = many(tmp_path, {"a": 50, "b": 50})
    sample = draw(source, spec, 80)
    ids = [image.id for image in sample.images]
    assert all(each.startswith("train/") for each in ids)
    assert len(set(ids)) == len(ids) == 80


def test_the_hashed_split_keeps_its_test_images(tmp_path: Path):
    source, spec = many(tmp_path, {"a": 300, "b": 300}, train="")
    sample = draw(source, spec, 2_000)
    assert sample.images
    assert all(hashed_split(image.id, spec.split) == "train" for image in sample.images)
    assert sample.training == len(sample.images) < sample.listed


def test_the_same_each_time_and_another_with_another_seed(tmp_path: Path):
    source, spec = many(tmp_path, {"a": 500, "b": 500})
    first, again = draw(source, spec, 100), draw(source, spec, 100)
    assert first == again
    other = draw(source, spec.model_copy(update={"seed": 1}), 100)
    assert {image.id for image in other.images} != {image.id for image in first.images}


def test_thinning_on_the_way_changes_nothing(tmp_path: Path):
    """The images with the lowest lots of each class, whether the listing was thinned a hundred times or never."""
    source, spec = many(tmp_path, {"a": 20_000, "b": 10_000})
    assert len(source.names) > 100 * ROOM * 60
    small = {image.id for image in draw(source, spec, 60).images}
    large = draw(source, spec, 40_000)
    lowest = {0: 40, 1: 20}
    expected = set[str]()
    for number, most in lowest.items():
        own = [image.id for image, label in zip(large.images, large.labels, strict=True) if label == number]
        expected |= set(own[:most])
    assert small == expected


def test_real_folders_and_what_is_left_out(tmp_path: Path):
    folder = write(tmp_path / "images", {"a": 30, "b": 30, "alone": 1})
    (folder / "loose.png").touch()
    spec = spec_of(folder, split={"test_fraction": 0.01})
    sample = draw(source_of(spec), spec)
    assert sample.classes == ["a", "b"]
    assert (sample.unlabelled, sample.too_few) == (1, ["alone"])


def test_labels_and_splits_of_a_table(tmp_path: Path):
    write(tmp_path, {"images": 8})
    rows = [f"images/{n:04d}.png,{'ab'[n % 2]},{'test' if n > 5 else 'train'}" for n in range(8)]
    (tmp_path / "table.csv").write_text("\n".join(["uri,label,split", *rows]))
    spec = spec_of(tmp_path / "table.csv")
    sample = draw(source_of(spec), spec, 10)
    assert counted(sample) == {"a": 3, "b": 3}
    assert (sample.listed, sample.training) == (8, 6)
    with pytest.raises(DataError, match=r"None of the 6 training images of .* has a label"):
        draw(source_of(spec), spec.model_copy(update={"labels": "none"}), 10)


@pytest.mark.parametrize(
    ("counts", "error", "message"),
    [
        ({"a": 9}, DataError, r"at least two classes with at least two training images each, and .* has 1: a \(9\)"),
        ({"a": 9, "b": 1}, DataError, r"has 1: a \(9\), b \(1\)"),
        ({"a": 1, "b": 1}, DataError, "has 0"),
        ({}, SourceError, "holds no images, so there is nothing to compare"),
    ],
)
def test_too_little_is_refused(tmp_path: Path, counts: dict[str, int], error: type[Exception], message: str):
    folder = write(tmp_path / "images", counts)
    folder.mkdir(exist_ok=True)
    spec = spec_of(folder, split={"test_fraction": 1e-9})
    with pytest.raises(error, match=message):
        draw(source_of(spec), spec)


def test_more_classes_than_the_sample_has_room_for(tmp_path: Path):
    source, spec = many(tmp_path, {f"class{number}": 4 for number in range(30)})
    with pytest.raises(DataError, match=r"30 classes and the sample 50 images, fewer than two of each. Use --sample 150"):
        draw(source, spec, 50)
    assert len(draw(source, spec, 60).images) == 60


def test_flat_folders_have_no_labels(tmp_path: Path):
    folder = write(tmp_path, {"images": 3}) / "images"
    spec = spec_of(folder)
    with pytest.raises(
        DataError, match=r"has a label, so there is nothing to compare backbones by. Put each class into a folder"
    ):
        draw(source_of(spec), spec)


@pytest.mark.parametrize("kind", ["regression", "multilabel"])
def test_other_targets_are_refused(tmp_path: Path, kind: str):
    spec = spec_of(tmp_path, target={"kind": kind}, heads=[{"kind": "ridge"}])
    with pytest.raises(SpecError, match=f"target.kind is {kind}, and choose compares backbones by classes"):
        draw(source_of(spec), spec)


def test_many_small_classes_are_named_in_part():
    with pytest.raises(DataError, match=r"c0 \(1\), .*c4 \(1\) and 3 more"):
        refuse_few_classes({f"c{number}": 1 for number in range(8)}, "here")
