"""Unlock: leases of the dead are released, those of the living only by force, and their holders notice."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

import pytest

from tests.maintenance.conftest import Broken
from tests.store.test_lease import HOLDER
from trunkline.errors import LeaseLost
from trunkline.locations import Location
from trunkline.maintenance import unlock as unlocking
from trunkline.maintenance.unlock import Held, unlock
from trunkline.store import lease as leases
from trunkline.store.lease import Lease, hold, latest


@pytest.fixture
def folder(in_zarr: Broken, monkeypatch: pytest.MonkeyPatch) -> Location:
    """Its leases, watched with little patience."""
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.1)
    place = Location.of(in_zarr.features / "leases")
    place.remove()
    return place


def unlocked(folder: Location, force: bool = False) -> Held:
    (held,) = unlock(folder.uri.split("/features/")[0], "digits", force=force)
    return held


def lease_of(folder: Location, host: str, pid: int, started: str) -> Lease:
    lease = Lease(folder, 3, host, pid, started, "another")
    lease.location.write(lease.to_bytes())
    return lease


def test_what_nobody_holds_stays_as_it_is(folder: Location):
    assert unlocked(folder).state == "none"
    with hold(folder):
        pass
    held = unlocked(folder)
    assert (held.state, held.number, held.host, held.unlocked) == ("released", 1, socket.gethostname(), False)
    assert len(folder.names()) == 1


@pytest.fixture
def killed(folder: Location) -> int:
    """A process that held the lease and was killed."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, folder.uri], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        held = unlocked(folder)
        assert (held.state, held.pid, held.refused) == ("alive", process.pid, True)
        process.kill()
    return process.pid


def test_the_lease_of_a_dead_process_is_released(folder: Location, killed: int):
    held = unlocked(folder)
    assert (held.state, held.pid, held.unlocked, held.refused) == ("dead", killed, True, False)
    now = latest(folder)
    assert now is not None
    assert (now.number, now.released) == (2, True)
    with hold(folder, wait_seconds=0.0) as lease:
        assert lease.number == 3


def test_a_silent_lease_from_elsewhere_is_released_and_its_holder_finds_it_lost(folder: Location):
    lease = lease_of(folder, "elsewhere", 1, "some boot:1")
    held = unlocked(folder)
    assert (held.state, held.unlocked) == ("silent", True)
    with pytest.raises(LeaseLost):
        lease.check()


def test_a_heartbeat_that_moves_is_refused_without_force(folder: Location, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    with hold(folder) as lease:
        monkeypatch.setattr(socket, "gethostname", lambda: "here")
        held = unlocked(folder)
        assert (held.state, held.refused) == ("beating", True)
        lease.check()
        forced = unlocked(folder, force=True)
        assert (forced.state, forced.unlocked, forced.refused) == ("beating", True, False)
        with pytest.raises(LeaseLost):
            lease.check()
        for thread in [each for each in threading.enumerate() if each.name == "lease-heartbeat"]:
            thread.join(30)  # it noticed
    now = latest(folder)
    assert now is not None
    assert (now.number, now.released) == (2, True)


def test_this_process_alive_is_refused(folder: Location):
    with hold(folder):
        assert (unlocked(folder).state, unlocked(folder).refused) == ("alive", True)


def test_a_damaged_lease_is_replaced_by_force_alone(folder: Location):
    (folder / "lease-000004.json").write(b"no JSON")
    assert (unlocked(folder).state, unlocked(folder).refused) == ("damaged", True)
    assert unlocked(folder, force=True).unlocked
    now = latest(folder)
    assert now is not None
    assert (now.number, now.released) == (5, True)


def test_a_run_that_takes_it_over_meanwhile_keeps_it(folder: Location, monkeypatch: pytest.MonkeyPatch):
    lease_of(folder, "elsewhere", 1, "some boot:1")
    watched = unlocking._watched

    def slowly(folders: list[Location]) -> list[Held]:
        found = watched(folders)
        now = Lease(folder, 4, socket.gethostname(), os.getpid(), leases._start_time(os.getpid()), "mine")
        leases._held_here.add("mine")
        now.location.write(now.to_bytes())
        return found

    monkeypatch.setattr(unlocking, "_watched", slowly)
    held = unlocked(folder)
    leases._held_here.discard("mine")
    assert (held.state, held.number, held.unlocked) == ("alive", 4, False)
