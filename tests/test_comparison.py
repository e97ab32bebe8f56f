"""A listing against a manifest: counts, renames, repetitions; in pieces as well as at once."""

from __future__ import annotations

import numpy as np
import pytest

from tests.manifests import compared, fresh, scanned
from trunkline.comparison import Told, compare
from trunkline.drafts import Draft
from trunkline.errors import SourceError
from trunkline.sources import Listed


def image(name: str, version: str = "1", size: int = 5) -> Listed:
    return Listed(name, size, version)


def test_a_moved_image_is_a_rename_and_its_old_row_has_a_successor():
    manifest = scanned(fresh(), [image("a.jpg", "x"), image("b.jpg", "y"), image("c.jpg", "z")])
    difference, manifest = compared(manifest, [image("b.jpg", "y"), image("new/a.jpg", "x"), image("d.jpg", "w")])
    assert (difference.added, difference.renamed, difference.gone, difference.unchanged) == (1, 1, 1, 1)
    assert difference.removed.tolist() == [0, 2]
    assert difference.successors.tolist() == [1024, -1]
    assert [manifest.predecessor(row) for row in (0, 1024, 1025)] == [None, 0, None]


def test_a_changed_image_follows_its_earlier_version():
    manifest = scanned(fresh(), [image("a.jpg"), image("b.jpg")])
    difference, manifest = compared(manifest, [image("a.jpg"), image("b.jpg", "2")])
    assert (difference.changed, difference.renamed) == (1, 0)
    assert manifest.predecessor(1024) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": "x", "b": "x"}, {"c": "x"}),  # two could be it
        ({"a": "x"}, {"b": "x", "c": "x"}),  # it could be two
        ({"a": "dangling"}, {"b": "dangling"}),  # neither was ever seen
        ({"a": "missing"}, {"b": "missing"}),
        ({"a": "x"}, {"a": "x", "b": "x"}),  # a copy: nothing is gone
    ],
)
def test_what_could_be_several_is_no_rename(before, after):
    manifest = scanned(fresh(), [image(*each) for each in before.items()])
    difference, manifest = compared(manifest, [image(*each) for each in after.items()])
    assert difference.renamed == 0
    assert [manifest.predecessor(row) for row in range(manifest.rows)] == [None] * manifest.rows


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
@pytest.mark.parametrize("known", [[], ["b.jpg"], ["a.jpg", "b.jpg", "c.jpg"]])
def test_an_id_that_is_listed_twice_is_refused(monkeypatch, at_once, known):
    monkeypatch.setattr("trunkline.comparison.IMAGES_AT_ONCE", at_once)
    manifest = scanned(fresh(), [image(name) for name in known])
    with pytest.raises(SourceError, match=r"lists (the id 'b.jpg'|an id of a new image) twice, so nobody could tell"):
        compared(manifest, [image("a.jpg"), image("b.jpg"), image("c.jpg"), image("b.jpg", "2")])


def test_a_new_id_that_is_listed_twice_is_named_where_it_can_be_listed_again(tmp_path):
    images = [image("a.jpg"), image("b.jpg"), image("c.jpg"), image("b.jpg", "2")]
    with pytest.raises(SourceError, match=r"lists the id 'b.jpg' twice"):
        compare(fresh(), iter(images), Draft(tmp_path, fresh()), again=lambda: images)


def test_an_image_whose_bytes_lie_in_another_place_has_changed():
    """Its version may be the same, as a copy's is; where it lies is what a later extraction or a repair goes by."""
    manifest = scanned(fresh(), [image("a")._replace(place="old/a.jpg"), image("b")._replace(place="old/b.jpg"), image("c")])
    difference, manifest = compared(
        manifest, [image("a")._replace(place="new/a.jpg"), image("b")._replace(place="old/b.jpg"), image("c")]
    )
    assert (difference.changed, difference.unchanged, difference.gone) == (1, 2, 0)
    assert manifest.images().to_pylist()[-1]["place"] == "new/a.jpg"
    assert manifest.predecessor(1024) == 0


def test_images_that_are_listed_and_not_there_any_more_are_lost():
    manifest = scanned(fresh(), [image("a", "x"), image("b", "y"), image("c", "missing")])
    difference, manifest = compared(manifest, [image("a", "missing"), image("b", "z"), image("c", "unreadable")])
    assert (difference.changed, difference.lost, difference.vanished) == (3, 1, 1)
    difference, _ = compared(manifest, [image("a", "missing"), image("b", "z"), image("c", "unreadable")])
    assert difference.is_empty


def test_a_scan_of_several_batches_that_died_is_put_right_by_the_next(monkeypatch, tmp_path):
    """The first batch is there, with new rows of changed images; the one with the removals is not."""
    monkeypatch.setattr("trunkline.drafts.MAX_BATCH_ROWS", 1024)
    before = [image(f"{number}", "old") for number in range(3)]
    after = [image(f"{number}", "new") for number in range(3)] + [image(f"{number}") for number in range(3, 1030)]
    manifest = scanned(fresh(), before)
    draft = Draft(tmp_path, manifest)
    difference = compare(manifest, after, draft)
    manifest = manifest.append(draft.finish(difference.removed, difference.successors)[:1])
    assert int(manifest.live().sum()) == 3 + 1024
    difference, manifest = compared(manifest, after)
    assert (difference.added, difference.changed, difference.gone, difference.known) == (6, 0, 0, 1024)
    live = manifest.images().filter(~np.array(manifest.images()["removed"].to_pylist()))
    assert sorted(live["id"].to_pylist()) == sorted(each.id for each in after)
    assert [manifest.predecessor(row) for row in (1024, 1025, 1026)] == [0, 1, 2]


def test_in_pieces_it_finds_the_same(monkeypatch):
    first = [image(f"{number}.jpg", str(number)) for number in range(50)]
    second = [
        *first[:10],
        *(image(f"{number}.jpg", "new") for number in range(10, 20)),
        image("moved.jpg", "30"),
        image("51.jpg"),
    ]
    found = []
    for at_once in (65_536, 7):
        monkeypatch.setattr("trunkline.comparison.IMAGES_AT_ONCE", at_once)
        difference, manifest = compared(scanned(fresh(), first), second)
        found.append(
            (
                vars(difference) | {"removed": difference.removed.tolist(), "successors": difference.successors.tolist()},
                manifest.images(),
            )
        )
    assert found[0][0] == found[1][0]
    assert found[0][1].equals(found[1][1])
    assert found[0][0]["renamed"] == 1


def test_what_a_listing_tells_is_kept_by_row(tmp_path):
    manifest = scanned(fresh(), [image("a.jpg"), image("b.jpg")])
    told = Told()
    listing = [image("b.jpg")._replace(label="pear"), image("c.jpg")._replace(label="fig", split="test")]
    compare(manifest, listing, Draft(tmp_path, manifest), told)
    assert [rows.tolist() for rows in told.rows] == [[1, 1024]]
    assert told.labels == [["pear", "fig"]]
    assert told.splits == [[None, "test"]]
