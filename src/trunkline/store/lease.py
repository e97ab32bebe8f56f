"""The lease: one run at a time writes a feature set.

Leases are numbered files, each taken by exclusive create; the number is a fencing token. The holder's heartbeat rewrites its
file; a lease is free when it was released, when its process on this host is dead, or when its heartbeat has not moved for
a while on the observer's own clock.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from trunkline.errors import CorruptStore, LeaseHeld, LeaseLost, TrunklineError
from trunkline.locations import Location

HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 30.0
MISSED_BEATS = 3  # in a row, before they are worth a warning

log = logging.getLogger(__name__)

_held_here: set[str] = set()  # tokens of the leases that this process holds now
_patience: ContextVar[float] = ContextVar("patience", default=STALE_SECONDS + HEARTBEAT_SECONDS)


@dataclass(frozen=True)
class Lease:
    """Who holds a feature set: fencing number, host, process and its start time, a token of this one lease, a heartbeat that counts up."""

    folder: Location
    number: int
    host: str
    pid: int
    started: str
    token: str
    beat: int = 0
    released: bool = False

    @property
    def location(self) -> Location:
        return self.folder / f"lease-{self.number:06d}.json"

    def to_bytes(self) -> bytes:
        said = asdict(self)
        del said["folder"]
        return json.dumps(said).encode()

    def check(self) -> None:
        """Raise LeaseLost where the run that holds this number has ended or another run has a higher one."""
        current = latest(self.folder)
        if current is None or current.number != self.number or current.released:
            raise LeaseLost(
                f"The run with lease {self.number} on {self.folder} has ended or was taken over; nothing more is written."
            )


def latest(folder: Location) -> Lease | None:
    """The lease with the highest number."""
    names = [name for name in folder.names() if name.startswith("lease-")]
    if not names:
        return None
    place = folder / names[-1]
    try:
        return Lease(folder=folder, **json.loads(place.read()))
    except (ValueError, TypeError) as error:
        raise CorruptStore(f"{place} is not a lease. If no run is writing, delete it.") from error


@contextlib.contextmanager
def hold(
    folder: Location, wait_seconds: float | None = None, waiting: Callable[[Lease], None] | None = None
) -> Iterator[Lease]:
    """Take the lease, keep its heartbeat, release it at the end.

    Parameters
    ----------
    folder : `leases/` of a feature set.
    wait_seconds : how long to watch another holder before giving up; a dead one is noticed on the way. 35 s by default, and within
        `patient` for as long as it lives.
    waiting : called once with the holder, before the wait.

    Raises
    ------
    LeaseHeld : another run is alive.
    """
    lease = _take(folder, _patience.get() if wait_seconds is None else wait_seconds, waiting)
    stop = threading.Event()
    pulse = threading.Thread(target=_keep_beating, args=(lease, stop), name="lease-heartbeat", daemon=True)
    pulse.start()
    try:
        yield lease
    finally:
        stop.set()
        pulse.join()
        _held_here.discard(lease.token)
        # a full or lost disk must not hide the run's own error; this process knows that it holds the lease no more
        with contextlib.suppress(OSError, TrunklineError):
            current = latest(folder)
            if current and current.number == lease.number:
                lease.location.write(replace(current, released=True).to_bytes())


@contextlib.contextmanager
def patient() -> Iterator[None]:
    """Within, `hold` waits for another holder as long as it lives: what it does need not be done twice."""
    before = _patience.set(float("inf"))
    try:
        yield
    finally:
        _patience.reset(before)


def release(folder: Location) -> Lease | None:
    """Take the lease away from whoever holds it, who notices at its next check; the lease that was held, None where all is free.

    The holder's own file is left alone, as its heartbeat may rewrite it at any moment: a later lease is made, released from the start.
    """
    while True:
        held = latest(folder)
        if held is None or held.released:
            return None
        mine = replace(_next(folder, held), released=True)
        try:
            mine.location.create(mine.to_bytes())
            return held
        except FileExistsError:
            continue  # another run was faster; take it away from that one


def _take(folder: Location, wait_seconds: float, waiting: Callable[[Lease], None] | None) -> Lease:
    deadline = time.monotonic() + wait_seconds
    while True:
        held = latest(folder)
        if held is not None and not is_free(held):
            if waiting:
                log.info("Waiting for lease %d on %s, held by process %d on %s", held.number, folder, held.pid, held.host)
                waiting(held)
                waiting = None
            if not _goes_stale(held, deadline):
                raise LeaseHeld(
                    f"Another run holds {folder} (lease {held.number}, process {held.pid} on {held.host}, its heartbeat moves). Two runs "
                    "would do the same work twice: wait for it, or end it first."
                )
        mine = _next(folder, held)
        _held_here.add(mine.token)
        try:
            mine.location.create(mine.to_bytes())
            if held is not None and not _was_released(held):
                log.info("Lease %d of process %d on %s is taken over: it is dead or silent", held.number, held.pid, held.host)
            return mine
        except FileExistsError:
            _held_here.discard(mine.token)  # another run was faster; look at it
        except BaseException:
            _held_here.discard(mine.token)
            raise


def _was_released(held: Lease) -> bool:
    """Whether its holder ended it, perhaps since it was looked at."""
    try:
        return bool(json.loads(held.location.read())["released"])
    except (OSError, ValueError, KeyError, TrunklineError):
        return False


def _next(folder: Location, held: Lease | None) -> Lease:
    number = held.number + 1 if held else 1
    return Lease(folder, number, socket.gethostname(), os.getpid(), _start_time(os.getpid()), secrets.token_hex(8))


def _goes_stale(held: Lease, deadline: float) -> bool:
    """Watch until the holder is free or silent for STALE_SECONDS on this clock; False where the deadline comes first."""
    beat, since = held.beat, time.monotonic()
    while True:
        time.sleep(min(0.5, max(0.0, deadline - time.monotonic())))
        now = latest(held.folder)
        if now is None or now.number != held.number or is_free(now):
            return True
        if now.beat != beat:
            beat, since = now.beat, time.monotonic()
        if time.monotonic() - since >= STALE_SECONDS:
            return True
        if time.monotonic() >= deadline:
            return False


def is_free(lease: Lease) -> bool:
    """Whether it was released, or its process on this host is dead. Of another host's process only watching its heartbeat tells."""
    if lease.released:
        return True
    if lease.host != socket.gethostname():
        return False
    dead = _start_time(lease.pid) != lease.started
    return dead or (lease.pid == os.getpid() and lease.token not in _held_here)


def _start_time(pid: int) -> str:
    """When a process of this host started: the boot's id and the kernel's ticks since then; '' where it is dead or unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def _keep_beating(lease: Lease, stop: threading.Event) -> None:
    beat = missed = 0
    while not stop.wait(HEARTBEAT_SECONDS):
        beat += 1
        try:
            current = latest(lease.folder)
            if current is None or current.number != lease.number:
                return
            lease.location.write(replace(lease, beat=beat).to_bytes())
            missed = 0
        except (OSError, TrunklineError) as error:  # the next beat tries again; silence is the signal
            missed += 1
            if missed == MISSED_BEATS:
                log.warning("The heartbeat of lease %d on %s fails again and again: %s", lease.number, lease.folder, error)
