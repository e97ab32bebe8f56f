"""The same photos as every kind of source, with labels and splits wherever a kind can tell them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trunkline.locations import Location
from trunkline.tables import parquet_bytes


@dataclass(frozen=True)
class Photo:
    """One image: `7/0042.png`, its class folder as label."""

    name: str
    content: bytes

    @property
    def label(self) -> str:
        return self.name.split("/")[0]

    @property
    def split(self) -> str:
        return "test" if int(self.name[-5]) % 4 == 0 else "train"


@dataclass(frozen=True)
class Made:
    """A source: the options that name it, and how an id leads back to a photo's name.

    `tells` holds what the source itself says: labels, splits, both or neither.
    """

    options: tuple[str, ...]
    name_of: Callable[[str], str]
    tells: frozenset[str] = frozenset()


def photos_in(folder: Path, count: int) -> list[Photo]:
    files = [file for file in sorted(folder.glob("*/*.png")) if int(file.stem) < count]
    return [Photo(file.relative_to(folder).as_posix(), file.read_bytes()) for file in files]


def folder(place: Location, photos: Sequence[Photo]) -> Made:
    write(place, photos)
    return Made(("--source", str(place)), str, frozenset({"label"}))


def glob(place: Location, photos: Sequence[Photo]) -> Made:
    write(place, photos)
    (place / "other/no.txt").write(b"not wanted")
    return Made(("--source", f"{place}/*/*.png"), str, frozenset({"label"}))


def csv_table(place: Location, photos: Sequence[Photo]) -> Made:
    """Relative URIs, and other names for the columns than the usual ones."""
    write(place / "data", photos)
    lines = [f"photo {photo.name},data/{photo.name},{photo.label},{photo.split}" for photo in photos]
    (place / "photos.csv").write("\n".join(["key,where,species,part", *lines, ""]).encode())
    columns = ("--id-column", "key", "--uri-column", "where", "--label-column", "species", "--split-column", "part")
    return Made(("--source", f"{place}/photos.csv", *columns), lambda said: said.removeprefix("photo "), BOTH)


def parquet_table(place: Location, photos: Sequence[Photo]) -> Made:
    """Absolute URIs, and columns of the usual names."""
    write(place / "data", photos)
    table = {
        "uri": [f"{place}/data/{photo.name}" for photo in photos],
        "label": [photo.label for photo in photos],
        "split": [photo.split for photo in photos],
    }
    (place / "photos.parquet").write(parquet_bytes(pa.table(table)))
    return Made(("--source", f"{place}/photos.parquet"), lambda said: said.removeprefix(f"{place}/data/"), BOTH)


def tars(place: Location, photos: Sequence[Photo]) -> Made:
    """Two shards in WebDataset's layout."""
    half = len(photos) // 2
    for number, some in enumerate((photos[:half], photos[half:])):
        (place / f"{number:05d}.tar").write(tar_of(some))
    return Made(("--source", str(place)), lambda said: said.split("/", 1)[1], frozenset({"label"}))


def image_column(place: Location, photos: Sequence[Photo]) -> Made:
    """Image bytes in two Parquet files of small row groups, as Hugging Face writes them."""
    for number, some in enumerate((photos[:40], photos[40:])):
        table = {
            "name": [photo.name for photo in some],
            "image": [{"bytes": photo.content, "path": None} for photo in some],
            "label": [photo.label for photo in some],
            "split": [photo.split for photo in some],
        }
        out = io.BytesIO()
        pq.write_table(pa.table(table), out, row_group_size=16)
        (place / f"{number:05d}.parquet").write(out.getvalue())
    return Made(("--source", str(place), "--id-column", "name"), str, BOTH)


def tar_of(photos: Sequence[Photo]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for photo in photos:
            for name, content in ((photo.name, photo.content), (photo.name[:-3] + "cls", photo.label.encode())):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def write(place: Location, photos: Sequence[Photo]) -> None:
    for photo in photos:
        (place / photo.name).write(photo.content)


BOTH = frozenset({"label", "split"})
KINDS = {
    "folder": folder,
    "glob": glob,
    "csv": csv_table,
    "parquet": parquet_table,
    "tar": tars,
    "bytes": image_column,
}
