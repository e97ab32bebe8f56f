"""Objects of a feature set torn, flipped or deleted by hand; and what a repair has to make of it."""

from __future__ import annotations

from pathlib import Path

from tests.model import looks
from tests.model.dictionary import OK, QUARANTINED, Row
from tests.model.twins import Twins
from trunkline.errors import StorageUnreachable
from trunkline.store.feature_set import FeatureSet

WAYS = ("cut", "flip", "delete", "empty")
LEFT_ALONE = ("recipe.json", "layout.json", ".tmp", ".partial")


def break_and_repair(twins: Twins, pick: int, how: str, at: int, death: tuple[str, int] | None) -> None:
    """Break one object and repair it; where the source cannot give back what is lost, put it back by hand."""
    features = twins.feature_set
    assert features is not None
    places = sorted(
        place
        for place in features.location.path.rglob("*")
        if place.is_file() and not place.name.endswith(LEFT_ALONE) and "leases" not in place.parts
    )
    place = places[pick % len(places)]
    if not twins.tidy or (how == "flip" and place.suffix == ".json"):
        return
    whole = place.read_bytes()
    twins.kept.clear()
    _break(place, how, at)
    match place.parent.name:
        case "commits" if how == "delete":  # nobody can tell it from a shard that was never extracted
            start = int(place.stem)
            twins.model.forget_shard(start, dict(twins.model.shards())[start])
        case "sealed":
            twins.check()  # only a copy
            twins.check_verified()
        case "commits" | "c" | "parts" | "wide" | "narrow" if place.suffix != ".json":
            if not _repair(twins, death):
                place.write_bytes(whole)
            twins.check_verified()
        case _:  # derived from the rest
            if "c" in place.relative_to(features.location.path).parts:
                if not _repair(twins, death):
                    place.write_bytes(whole)
            else:
                if death is not None:
                    twins.die(twins.repaired, *death)
                    twins.tidy = True
                assert twins.repaired().findings == ()
            twins.check_verified()


def _break(place: Path, how: str, at: int) -> None:
    content = bytearray(place.read_bytes())
    match how:
        case "cut":
            place.write_bytes(content[: at % max(1, len(content))])
        case "flip" if content:
            content[at % len(content)] ^= 1 << (at % 8)
            place.write_bytes(content)
        case "empty":
            place.write_bytes(b"")
        case "delete":
            place.unlink()


def _repair(twins: Twins, death: tuple[str, int] | None) -> bool:
    """By the rules of the design, shard by shard; False where it has to be left."""
    model, features = twins.model, twins.feature_set
    assert features is not None
    again: list[Row] = []
    left = False
    for start, rows in list(model.shards()):
        if start not in model.done:
            continue
        wrong = looks.damaged(features, [looks.recorded(row) for row in rows])
        readable = looks.record_is_right(features, rows)
        if not wrong and readable:
            continue
        match _way(twins, features, rows, wrong, readable):
            case "leave":
                left = True
            case "again":
                again += rows
                model.forget_shard(start, rows)
            case "keep":
                for row in rows:
                    if row.row in wrong and row.status == OK:
                        row.status, row.reason = QUARANTINED, "damaged"
    reachable = all(_can_be_extracted(twins, rows) for start, rows in model.shards() if start not in model.done)
    died = death is not None and twins.die(lambda: _repaired(twins), *death)
    findings = _repaired(twins)
    twins.adopt_commits(again)
    if not died and again and reachable:
        assert model.done == {start for start, _ in model.shards()}
    twins.tidy = reachable and not died
    if not left and twins.tidy:
        assert findings == ()
    if left and reachable:
        assert findings
    return not left


def _repaired(twins: Twins) -> object:
    try:
        return twins.repaired().findings
    except StorageUnreachable:
        return ()


def _can_be_extracted(twins: Twins, rows: list[Row]) -> bool:
    live = [row for row in rows if row.removed is None]
    return len(live) < 2 or any(row.id in twins.model.disk for row in live)


def _way(twins: Twins, features: FeatureSet, rows: list[Row], wrong: set[int], readable: bool) -> str:
    disk = twins.model.disk
    live = [row for row in rows if row.removed is None]
    gone = [row for row in live if row.id not in disk or disk[row.id].version != row.version]
    if live and len(gone) == len(live) and all(row.id not in disk for row in gone):
        return "leave"
    if not readable:
        return "leave" if any(looks.holds_something(features, row.row) for row in gone) else "again"
    intact = [row for row in rows if row.status == OK and row.row not in wrong]
    return "keep" if any(row in gone or row.removed is not None for row in intact) else "again"
