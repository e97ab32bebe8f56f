"""Where an export goes: written to temporary files, then moved or uploaded; what fails leaves nothing behind."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from trunkline.errors import SpecError, StorageError
from trunkline.locations import Location, reached
from trunkline.wording import in_bytes


def refuse_wrong_place(places: Sequence[Location], store: Location, overwrite: bool) -> None:
    """Raises SpecError where something lies there already, where its folder is missing, or inside the store."""
    for place in places:
        if f"{place.uri}/".startswith(f"{store.uri}/"):
            raise SpecError(
                f"{place} lies in the store itself, which holds nothing but its own objects. Export to another folder."
            )
        if place.is_local and not place.path.parent.is_dir():
            raise SpecError(f"There is no folder {place.path.parent} to export to. Make it, or name another.")
        if place.is_local and place.path.is_dir():
            raise SpecError(f"{place} is a folder. Name a file in it, such as {place / 'features.parquet'}.")
        if not overwrite and place.exists():
            raise SpecError(f"{place} exists already and is left as it is. Name another file, or replace it with --overwrite.")


def refuse_what_does_not_fit(place: Location, size: int) -> None:
    """Raises StorageError where the disk that is written to has less than `size` bytes free."""
    disk = place if place.is_local else Location.of(tempfile.gettempdir())
    free = disk.free()
    if free is not None and size > free:
        why = "" if place.is_local else f", where the file is made before it goes to {place}; TMPDIR names another folder"
        raise StorageError(
            f"The export takes {in_bytes(size)}, and {in_bytes(free)} are free at {disk}{why}. Nothing was written. Free some space, or "
            "export one split, or masked columns."
        )


@contextlib.contextmanager
def placed(places: Sequence[Location]) -> Iterator[list[Path]]:
    """Local paths to write to. They become the places, the first one last, when the block ends without an error."""
    with contextlib.ExitStack() as stack:
        if places[0].is_local:
            yield [stack.enter_context(place.staged()) for place in places]
            return
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trunkline-export-")))
        paths = [folder / place.name for place in places]
        yield paths
        for place, path in reversed(list(zip(places, paths, strict=True))):
            _upload(path, place)


def _upload(path: Path, place: Location) -> None:
    try:
        with reached(place) as remote:
            remote.put_file(str(path), place.uri)
    except FileNotFoundError as error:
        raise StorageError(f"{place} cannot be written: {error}. Check that the bucket exists.") from error
