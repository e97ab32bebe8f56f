"""Columns of tables: which of a table's columns are read as what, and what a row may say."""

from __future__ import annotations

from collections.abc import Sequence

from trunkline.errors import SourceError, did_you_mean
from trunkline.locations import Location
from trunkline.sources.layout import SPLITS
from trunkline.specs import ColumnsSpec

MAX_ID = 4096
DEFAULTS = {"uri": "uri", "image": "image"}
BOUND = ("id", "uri", "image", "version")  # another mapping of these is another source; labels and splits may change


def resolved(
    columns: ColumnsSpec, needed: Sequence[str], optional: Sequence[str], known: Sequence[str], where: Location
) -> dict[str, str]:
    """What is read → the column's name. Needed ones have a default name; label and split are read where columns of these names are there.

    Raises
    ------
    SourceError : a named or needed column that the table has not, or has twice.
    """
    found = {}
    for role in (*needed, *optional):
        said = getattr(columns, role)
        if said is None and (role in needed or role in ("label", "split")):
            name, must = role, role in needed
        else:
            name, must = said, True
        if name is None or (name not in known and not must):
            continue
        if name not in known:
            raise SourceError(
                f"{where} has no column {name!r} for the {role}.{did_you_mean(name, known)} It has: {', '.join(known) or 'none'}. "
                f"Name the right one with --{role}-column."
            )
        if list(known).count(name) > 1:
            raise SourceError(
                f"{where} has {list(known).count(name)} columns named {name!r}, so which one holds the {role}? Rename one."
            )
        found[role] = name
    return found


def split_of(said: str | None, where: str) -> str | None:
    """train, test or val; None where the table says nothing. Raises SourceError for another word."""
    if said is None or not (word := said.strip()):
        return None
    if word.lower() not in SPLITS:
        raise SourceError(
            f"{where} says the split {said[:80]!r}; splits are train, test and val. Correct it, or map no split column."
        )
    return SPLITS[word.lower()]


def id_of(said: str | None, where: str) -> str:
    """The id. Raises SourceError for none, or one too long to be a name."""
    if said is None or not said.strip():
        raise SourceError(f"{where} has no id; each image needs one. Correct the table, or --id-column.")
    if len(said) > MAX_ID:
        raise SourceError(
            f"{where} says an id of {len(said):,} characters; at most {MAX_ID:,} make a name that people can read. Is --id-column right?"
        )
    return said


def label_of(said: str | None, where: str) -> str | None:
    """The label without space around it; None where there is none. Raises SourceError for one too long to be a label."""
    label = (said or "").strip()
    if len(label) > 1024:
        raise SourceError(f"{where} says a label of {len(label):,} characters, which is no label. Is --label-column right?")
    return label or None
