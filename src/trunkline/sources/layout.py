"""What folders say of the images in them: class folders, split folders; and the split that a hash assigns."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from trunkline.errors import SourceError
from trunkline.specs import SplitSpec

SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
}


@dataclass(frozen=True)
class Layout:
    """How folders speak: with `split_folders`, `train/apple/1.jpg`; without, `apple/1.jpg`; flat folders give no labels.

    Without a test folder (`holds_out` false) the hashed split holds images out of the training ones.
    """

    labelled: bool
    split_folders: bool
    holds_out: bool

    def label(self, image_id: str) -> str | None:
        folders = image_id.split("/")[1 if self.split_folders else 0 : -1]
        return folders[0] if self.labelled and folders else None

    def split(self, image_id: str, spec: SplitSpec) -> str:
        named = SPLITS.get(image_id.split("/", 1)[0].lower(), "train") if self.split_folders else "train"
        return hashed_split(image_id, spec) if named == "train" and not self.holds_out else named


SILENT = Layout(labelled=False, split_folders=False, holds_out=False)


def layout_of(folders: Iterable[str], labels: str, where: object) -> Layout:
    """Read the convention off the top folders that hold images: split folders where every one is, and `train` is among them.

    Raises
    ------
    SourceError : train and test (or val) folders stand beside others, so that nobody can tell splits from classes.
    """
    folders = set(folders)
    splits = {SPLITS.get(folder.lower()) for folder in folders}
    strangers = sorted(folder for folder in folders if folder.lower() not in SPLITS)
    if "train" in splits and splits & {"test", "val"} and strangers and labels == "folders":
        raise SourceError(
            f"{where} holds train and {'test' if 'test' in splits else 'val'} folders beside others ({', '.join(strangers[:3])}): are they "
            "splits or classes? Move the others away, or use --labels none."
        )
    split_folders = "train" in splits and not strangers
    return Layout(labels == "folders", split_folders, holds_out=split_folders and "test" in splits)


def top_folder(image_id: str) -> str | None:
    """The first folder of an id; None for an image that lies in none."""
    first, slash, _ = image_id.partition("/")
    return first if slash else None


def hashed_split(image_id: str, spec: SplitSpec) -> str:
    """'test' for a fixed share of ids, else 'train'; a function of (seed, id) alone, so that appending never reshuffles."""
    digest = hashlib.sha256(f"{spec.seed}:{image_id}".encode("utf-8", "surrogateescape")).digest()
    return "test" if int.from_bytes(digest[:8], "big") / 2**64 < spec.test_fraction else "train"
