"""The next batches of a manifest, written aside while a source is listed: nothing is in the store before all is known."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trunkline.manifest import NONE, SCHEMA, Manifest, Rows
from trunkline.shards import BLOCK
from trunkline.sources import Listed

MAX_BATCH_ROWS = 2**22  # of one file; a longer listing becomes several batches


class Draft:
    """Files for `Manifest.append`, in row order; rows are numbered on from the manifest's last block.

    Parameters
    ----------
    folder : a local folder of its own, empty.
    manifest : that it follows.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self._start = self.next_row = -(-manifest.rows // BLOCK) * BLOCK
        self._waiting: list[Listed] = []
        self._files: list[Path] = []
        self._writer: pq.ParquetWriter | None = None

    def add(self, images: Sequence[Listed]) -> Rows:
        """Give each image the next row; their numbers."""
        rows = np.arange(self.next_row, self.next_row + len(images))
        self.next_row += len(images)
        self._waiting.extend(images)
        self._write(len(self._waiting) // BLOCK * BLOCK)
        return rows

    def finish(self, removed: Rows, successors: Rows) -> list[Path]:
        """Write what waits, then the removals; the files, none where there is nothing to say."""
        self._write(len(self._waiting))
        if len(removed):
            order = np.argsort(removed, kind="stable")
            after = pa.array(successors[order], pa.int64(), mask=successors[order] == NONE)
            self._opened().write_table(_removals(removed[order], after))
        self._close()
        return self._files

    def _write(self, count: int) -> None:
        """The first `count` of those that wait: whole blocks, but for the last time."""
        while count:
            written = self.next_row - len(self._waiting)
            some = min(count, self._start + MAX_BATCH_ROWS - written)
            self._opened().write_table(_additions(written, self._waiting[:some]), row_group_size=BLOCK)
            del self._waiting[:some]
            count -= some
            if written + some == self._start + MAX_BATCH_ROWS:
                self._close()

    def _opened(self) -> pq.ParquetWriter:
        if self._writer is None:
            self._files.append(self._folder / f"{len(self._files):06d}.parquet")
            self._writer = pq.ParquetWriter(
                self._files[-1],
                SCHEMA,
                compression="zstd",
                write_statistics=False,
                use_dictionary=["place", "removed"],
                write_page_checksum=True,
            )
        return self._writer

    def _close(self) -> None:
        if self._writer is None:
            return
        stop = self.next_row - len(self._waiting)
        said = {"start": str(self._start), "stop": str(stop), "scanned": datetime.now(UTC).isoformat(timespec="seconds")}
        self._writer.add_key_value_metadata({f"trunkline.{name}": value for name, value in said.items()})
        self._writer.close()
        self._writer, self._start = None, stop


def append(manifest: Manifest, added: Iterable[Listed], removed: Rows, successors: Rows | None = None) -> Manifest:
    """Append images and removals at once; nothing is compared. `successors`: row or −1 for each removed one.

    Raises
    ------
    FileExistsError : a scan was faster.
    """
    with tempfile.TemporaryDirectory(prefix="trunkline-scan-") as folder:
        draft = Draft(Path(folder), manifest)
        draft.add(list(added))
        return manifest.append(draft.finish(removed, np.full(len(removed), NONE) if successors is None else successors))


def _additions(first: int, images: Sequence[Listed]) -> pa.Table:
    count = len(images)
    columns = {
        "row": pa.array(np.arange(first, first + count)),
        "id": pa.array([image.id for image in images], pa.string()),
        "size": pa.array([image.size for image in images], pa.int64()),
        "version": pa.array([image.version for image in images], pa.string()),
        "place": pa.array([image.place for image in images], pa.string()),
        "successor": pa.nulls(count, pa.int64()),
        "removed": pa.repeat(False, count),
    }
    return pa.table(columns, SCHEMA)


def _removals(rows: Rows, successors: pa.Array) -> pa.Table:
    empty = pa.repeat("", len(rows))
    columns = {
        "row": pa.array(rows),
        "id": empty,
        "size": pa.repeat(pa.scalar(0, pa.int64()), len(rows)),
        "version": empty,
        "place": empty,
        "successor": successors,
        "removed": pa.repeat(True, len(rows)),
    }
    return pa.table(columns, SCHEMA)
