"""The folder of figures: a file for each process that is alive, and one of totals for all that have ended.

A process's file is one of prometheus_client's, mapped into memory: what was counted is there after any kill. Its process locks
it as long as it lives, in whichever container, so a file that can be locked is a dead one's. Those are absorbed: `totals.json`
is replaced by one that holds their sums and their names, and then they are deleted. Who dies in between has lost and doubled
nothing, as files that are named there count no more.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import secrets
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from prometheus_client.mmap_dict import MmapedDict

from trunkline.telemetry.names import FIGURES, Kind, is_known, parsed, series

FILE_BYTES = 1 << 16  # some 400 series; reserved when it is made, as a full disk under a mapped file would kill the process
LOCK_SECONDS = 5.0
TOTALS, LOCK = "totals.json", "totals.lock"

log = logging.getLogger(__name__)

Values = dict[str, float]


class ProcessFile:
    """What this process counts. Raises OSError where it cannot be made."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        while True:
            path = folder / f"{os.getpid()}-{secrets.token_hex(4)}.db"
            self._held = path.open("x+b")
            os.posix_fallocate(self._held.fileno(), 0, FILE_BYTES)
            fcntl.flock(self._held, fcntl.LOCK_EX)
            if os.fstat(self._held.fileno()).st_nlink:
                break
            self._held.close()  # it was absorbed before it was locked
        self._values: Any = _mapped(path)

    def write(self, key: str, change: Callable[[float], float]) -> None:
        """Replace the value of a series, 0 at first."""
        with self._lock:
            before, _ = self._values.read_value(key)
            self._values.write_value(key, change(before), 0.0)

    def close(self) -> None:
        """Let go of it, as the end of the process does."""
        self._values.close()
        self._held.close()


def _mapped(path: Path) -> Any:
    make: Any = MmapedDict  # it has no annotations
    return make(str(path))


@dataclass(frozen=True)
class Totals:
    """Sums over processes that ended, and the names of their files."""

    values: Values = field(default_factory=dict)
    absorbed: frozenset[str] = frozenset()

    @classmethod
    def read(cls, folder: Path) -> Totals:
        try:
            said = json.loads((folder / TOTALS).read_bytes())
            known = {key: float(value) for key, value in said["values"].items() if is_known(key)}
            return cls(known, frozenset(said["absorbed"]))
        except FileNotFoundError:
            return cls()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.error("%s is damaged and set aside (%s); counters begin again at 0.", folder / TOTALS, error)
            (folder / TOTALS).replace(folder / f"{TOTALS}.damaged")
            return cls()

    def write(self, folder: Path) -> None:
        """Replace it, whole or not at all."""
        new = folder / f"{TOTALS}.new"
        with new.open("w") as file:
            json.dump({"values": self.values, "absorbed": sorted(self.absorbed)}, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(folder / TOTALS)


def collect(folder: Path) -> Values:
    """All that was ever counted in a folder, by series; files of dead processes are absorbed on the way.

    Raises
    ------
    OSError : the folder cannot be read, or TimeoutError where another process keeps it locked.
    """
    with _locked(folder, LOCK_SECONDS):
        ended, files = _absorbed(folder)
        return merged([ended.values, *(_values(path) for path in files)])


def absorb(folder: Path) -> None:
    """Absorb files of dead processes, unless another process is about it now."""
    with contextlib.suppress(TimeoutError), _locked(folder, 0.0):
        _absorbed(folder)


def merged(several: Iterable[Mapping[str, float]]) -> Values:
    """One value a series, as its kind says."""
    found: Values = {}
    for values in several:
        for key, value in values.items():
            highest = FIGURES[parsed(key)[0]].kind == Kind.HIGHEST
            found[key] = max(found.get(key, value), value) if highest else found.get(key, 0.0) + value
    return found


def _absorbed(folder: Path) -> tuple[Totals, list[Path]]:
    """The totals with all ended processes in them, and the files of the others. Under the folder's lock."""
    before = Totals.read(folder)
    with contextlib.ExitStack() as held:
        live: list[Path] = []
        dead: list[Path] = []
        for path in sorted(folder.glob("*.db")):
            file = _taken(path)
            (live if file is None else dead).append(path)
            if file is not None:
                held.enter_context(file)
        if not dead:
            return before, live
        new = [path for path in dead if path.name not in before.absorbed]
        after = Totals(
            merged([before.values, *(_of_ended(_values(path)) for path in new)]), frozenset(path.name for path in dead)
        )
        try:
            after.write(folder)
            for path in dead:
                path.unlink()
        except OSError as error:
            log.warning("Files of ended processes stay in %s: %s", folder, error)
        return after, live


def _of_ended(values: Values) -> Values:
    """What stays of a process: no gauge of what was going on, but runs that did not live to tell of their end."""
    stay: Values = {}
    for key, value in values.items():
        name, labels = parsed(key)
        if FIGURES[name].kind != Kind.LIVE:
            stay[key] = stay.get(key, 0.0) + value
        elif name == "trunkline_runs_active" and value > 0:
            died = series("trunkline_runs_total", {**labels, "outcome": "died"})
            stay[died] = stay.get(died, 0.0) + value
    return stay


def _values(path: Path) -> Values:
    """The values of a file by series; nothing of what is damaged, or of another version."""
    if not path.stat().st_size:
        return {}  # it is being made
    try:
        read: Any = MmapedDict.read_all_values_from_file
        return {key: value for key, value, *_ in read(str(path)) if is_known(key)}
    except (RuntimeError, UnicodeDecodeError, struct.error) as error:
        log.warning("%s is damaged, what it counted is lost: %s", path, error)
        return {}


def _taken(path: Path) -> BinaryIO | None:
    """The file, locked; None where its process is alive."""
    file = path.open("rb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


@contextlib.contextmanager
def _locked(folder: Path, seconds: float) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    with (folder / LOCK).open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"{folder / LOCK} is held by another process for more than {seconds:.0f} s.") from None
                time.sleep(0.02)
        yield
