"""Unlock: who holds each feature set, and ending a lease that its holder cannot end any more."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trunkline.errors import CorruptStore
from trunkline.locations import Location
from trunkline.maintenance.findings import chosen
from trunkline.store import lease as leases
from trunkline.store.feature_store import FeatureStore
from trunkline.store.lease import Lease, latest

FREE = ("none", "released")
IN_USE = ("alive", "beating")


@dataclass(frozen=True)
class Held:
    """The newest lease of one feature set.

    `state` is `none`, `released`, `dead` (its process on this host is gone), `silent` (elsewhere, its heartbeat did not move while
    watched), `damaged` (the file is no lease), or in use: `alive` (its process runs on this host) or `beating` (elsewhere, its
    heartbeat moves). `unlocked` says whether it was ended now.
    """

    feature_set: str
    state: str
    number: int = 0
    host: str = ""
    pid: int = 0
    beat: int = 0
    unlocked: bool = False

    @property
    def refused(self) -> bool:
        return self.state in (*IN_USE, "damaged") and not self.unlocked

    def summary(self) -> dict[str, Any]:
        return {**vars(self), "refused": self.refused}


def unlock(store: str, dataset: str | None = None, *, force: bool = False) -> list[Held]:
    """Release the leases that nobody uses any more; with `force` those in use and damaged ones too.

    A lease is ended by the next number, already released: a holder that wakes up finds itself taken over, and commits nothing more.

    Raises
    ------
    StoreError : no store, or no such dataset.
    """
    root = FeatureStore.open(Location.of(store))
    folders = [features.location for each in chosen(root, dataset) for features in root.feature_sets(each.name)]
    return [_ended(folder, held, force) for folder, held in zip(folders, _watched(folders), strict=True)]


def _watched(folders: Sequence[Location]) -> list[Held]:
    """All of them, watched together for a little longer than a heartbeat where only that can tell."""
    before = [_looked_at(folder) for folder in folders]
    if any(held.state == "silent" for held in before):
        time.sleep(1.4 * leases.HEARTBEAT_SECONDS)
    after = [_looked_at(folder) if held.state == "silent" else held for folder, held in zip(folders, before, strict=True)]
    return [
        Held(**{**vars(now), "state": "beating"})
        if now.state == "silent" and (now.number, now.beat) != (was.number, was.beat)
        else now
        for was, now in zip(before, after, strict=True)
    ]


def _looked_at(folder: Location) -> Held:
    try:
        lease = latest(folder / "leases")
    except CorruptStore:
        return Held(folder.uri, "damaged")
    if lease is None:
        return Held(folder.uri, "none")
    if lease.released:
        state = "released"
    elif lease.host != socket.gethostname():
        state = "silent"
    else:
        state = "dead" if leases.is_free(lease) else "alive"
    return Held(folder.uri, state, lease.number, lease.host, lease.pid, lease.beat)


def _ended(folder: Location, held: Held, force: bool) -> Held:
    if held.state in FREE or (held.state in (*IN_USE, "damaged") and not force):
        return held
    place = folder / "leases"
    number = held.number or int(max(name for name in place.names() if name.startswith("lease-"))[6:-5])
    mine = Lease(place, number + 1, socket.gethostname(), os.getpid(), "", secrets.token_hex(8), released=True)
    try:
        mine.location.create(mine.to_bytes())
    except FileExistsError:
        return _looked_at(folder)  # somebody took it over in the meantime
    return Held(**{**vars(held), "unlocked": True})
