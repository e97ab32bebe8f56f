"""The lease: one run at a time; a dead or silent one is taken over, a living one is not."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path

import pytest

from tests.faults import FaultyEndpoint
from trunkline.errors import CorruptStore, LeaseHeld, LeaseLost
from trunkline.locations import Location
from trunkline.store import lease as leases
from trunkline.store.lease import Lease, hold, is_free, latest, patient, release

HOLDER = """
import sys, time
from trunkline.locations import Location
from trunkline.store.lease import hold
with hold(Location.of(sys.argv[1])) as lease:
    print(lease.number, flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=["file", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Location:
    """With a heart that beats fast, and an observer who has little patience."""
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(leases, "STALE_SECONDS", 1.5)
    if request.param == "s3":
        bucket: Location = request.getfixturevalue("bucket")
        return bucket / "leases"
    return Location.of(tmp_path / "leases")


@pytest.fixture
def killed(folder: Location) -> Iterator[int]:
    """The id of a process that held lease 1 and was killed; nobody has collected it yet."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, folder.uri], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "1\n"
            with pytest.raises(LeaseHeld, match=rf"lease 1, process {process.pid}"), hold(folder, wait_seconds=0.0):
                pass
        finally:
            process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        yield process.pid


def elsewhere(folder: Location, number: int = 1, **changes: object) -> Lease:
    """A lease of another host, whose process cannot be looked at."""
    said = {"host": "elsewhere", "pid": 1, "started": "some boot:1", "token": "another"} | changes
    lease = Lease(folder, number, **said)
    lease.location.write(lease.to_bytes())
    return lease


def until(condition, what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_numbers_grow_and_a_released_lease_is_free_at_once(folder: Location):
    numbers = []
    for _ in range(3):
        with hold(folder, wait_seconds=0.0) as lease:
            numbers.append(lease.number)
            current = latest(folder)
            assert current is not None
            assert (current.number, current.pid, current.released) == (lease.number, os.getpid(), False)
        current = latest(folder)
        assert current is not None
        assert current.released
    assert numbers == [1, 2, 3]
    assert folder.names() == ["lease-000001.json", "lease-000002.json", "lease-000003.json"]


def test_a_lease_is_released_when_its_run_fails(folder: Location):
    with pytest.raises(ZeroDivisionError), hold(folder):
        1 / 0  # noqa: B018
    current = latest(folder)
    assert current is not None
    assert current.released


def test_the_heart_beats(folder: Location):
    with hold(folder):
        until(lambda: latest(folder).beat >= 3, "no heartbeat")


def test_a_heart_that_cannot_beat_is_said_once(folder: Location, monkeypatch, caplog):
    with hold(folder):

        def gone(_: Location) -> None:
            raise OSError("the disk is away")

        monkeypatch.setattr(leases, "latest", gone)
        until(lambda: caplog.messages, "no warning")
        time.sleep(0.2)  # more beats are missed
    (warning,) = caplog.messages
    assert warning == f"The heartbeat of lease 1 on {folder} fails again and again: the disk is away"


def test_a_second_run_is_refused_while_the_heartbeat_moves(folder: Location):
    told = []
    with hold(folder):
        with (
            pytest.raises(LeaseHeld, match=r"Another run holds .* \(lease 1, process \d+ on .*, its heartbeat moves\)"),
            hold(folder, wait_seconds=2.5, waiting=told.append),
        ):
            pass
        assert [held.number for held in told] == [1]  # said once, though it looked often
        assert folder.names() == ["lease-000001.json"]


def test_a_silent_run_on_another_host_is_taken_over(folder: Location):
    old = elsewhere(folder)
    told = []
    with hold(folder, wait_seconds=30.0, waiting=told.append) as lease:
        assert lease.number == 2
        with pytest.raises(LeaseLost, match=r"The run with lease 1 on .* has ended or was taken over"):
            old.check()
    assert [held.number for held in told] == [1]


def test_a_silent_run_on_another_host_is_not_taken_over_early(folder: Location):
    elsewhere(folder)
    with pytest.raises(LeaseHeld, match=r"process 1 on elsewhere"), hold(folder, wait_seconds=0.2):
        pass


def test_a_dead_process_is_taken_over_at_once(folder: Location, killed: int):
    held = latest(folder)
    assert held is not None
    assert held.pid == killed
    assert not held.released
    with hold(folder, wait_seconds=0.0) as lease:
        assert lease.number == 2


def test_a_process_number_that_was_given_again_is_not_the_holder(folder: Location):
    elsewhere(folder, host=socket.gethostname(), pid=os.getpid(), started="an earlier boot:1")
    with hold(folder, wait_seconds=0.0) as lease:
        assert lease.number == 2


def test_a_holder_that_ends_while_another_waits_hands_over(folder: Location):
    waiting = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        with hold(folder):
            second = pool.submit(lambda: _number(folder, waiting))
            assert waiting.wait(30)
        assert second.result(30) == 2


def test_a_lease_that_could_not_be_released_is_free_for_its_own_process(folder: Location):
    with hold(folder) as lease:
        held = lease.location.read()
    lease.location.write(held)  # as it stays where the disk is full when the run ends
    assert not latest(folder).released
    with hold(folder, wait_seconds=0.0) as again:
        assert again.number == 2


@pytest.mark.parametrize("jump", [-1e6, 1e6])
def test_a_jump_of_the_wall_clock_does_not_matter(folder: Location, jump: float, monkeypatch: pytest.MonkeyPatch):
    now = time.time
    with hold(folder) as lease:
        monkeypatch.setattr(time, "time", lambda: now() + jump)
        with pytest.raises(LeaseHeld, match="its heartbeat moves"), hold(folder, wait_seconds=0.3):
            pass
        beat = latest(folder).beat
        until(lambda: latest(folder).beat > beat, "no heartbeat")
        lease.check()


def test_a_lease_can_be_taken_away(folder: Location):
    assert release(folder) is None
    with hold(folder) as lease:
        assert not is_free(latest(folder))
        taken = release(folder)
        assert taken is not None
        assert (taken.number, taken.token) == (1, lease.token)
        with pytest.raises(LeaseLost, match=r"The run with lease 1 on .* has ended or was taken over"):
            lease.check()
        assert is_free(latest(folder))
        assert release(folder) is None
        with hold(folder, wait_seconds=0.0) as later:
            assert later.number == 3
    assert [latest(folder).number, latest(folder).released] == [3, True]


PAUSED = """
import sys
from trunkline.errors import LeaseLost
from trunkline.locations import Location
from trunkline.store import lease as leases
leases.HEARTBEAT_SECONDS = 0.05
root = Location.of(sys.argv[1])
with leases.hold(root) as lease:
    print(lease.number, flush=True)
    for name in sys.stdin:
        try:
            lease.check()
            (root / "commits" / name.strip()).create(b"")
            print("committed", flush=True)
        except LeaseLost:
            print("lost", flush=True)
"""


def test_a_run_that_was_paused_commits_nothing_after_a_takeover(folder: Location):
    """It is not dead, as its process is there; it is silent."""
    with subprocess.Popen(
        [sys.executable, "-c", PAUSED, folder.uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "1\n"
            print("before", file=process.stdin, flush=True)
            assert process.stdout.readline() == "committed\n"
            process.send_signal(signal.SIGSTOP)
            with hold(folder, wait_seconds=30.0) as lease:
                assert lease.number == 2
                print("after", file=process.stdin, flush=True)
                process.send_signal(signal.SIGCONT)
                assert process.stdout.readline() == "lost\n"
                lease.check()
            process.stdin.close()
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert (folder / "commits").names() == ["before"]
    assert latest(folder).number == 2


@pytest.mark.parametrize("kind", ["500", "503", "reset", "reset-after", "truncated"])
def test_a_lease_on_s3_survives_faults(kind: str, bucket: Location, faulty: Callable[..., FaultyEndpoint], monkeypatch):
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.02)
    endpoint = faulty(rate=0.2, kinds=(kind,), seed=2)
    for number in (1, 2):
        with hold(bucket, wait_seconds=0.0) as lease:
            assert lease.number == number
            until(lambda: latest(bucket).beat >= 3, "no heartbeat")
            lease.check()
            with pytest.raises(LeaseHeld, match=rf"lease {number}, process"), hold(bucket, wait_seconds=0.0):
                pass
        assert latest(bucket).released
    assert endpoint.done[kind] > 5


def _number(folder: Location, waiting: threading.Event) -> int:
    with hold(folder, wait_seconds=30.0, waiting=lambda _: waiting.set()) as lease:
        return lease.number


def test_of_many_that_start_together_one_wins(folder: Location):
    runs = 8
    together, ended = threading.Barrier(runs), threading.Barrier(runs)

    def start() -> int | None:
        together.wait()
        try:
            with hold(folder, wait_seconds=0.0) as lease:
                ended.wait(30)
                return lease.number
        except LeaseHeld:
            ended.wait(30)
            return None

    with ThreadPoolExecutor(runs) as pool:
        numbers = [future.result() for future in [pool.submit(start) for _ in range(runs)]]
    assert sorted(number for number in numbers if number is not None) == [1]


def test_check_passes_while_the_lease_is_held_and_not_after(folder: Location):
    with hold(folder) as lease:
        lease.check()
    with pytest.raises(LeaseLost, match=r"The run with lease 1 on .*; nothing more is written"):
        lease.check()


def test_a_lease_whose_folder_is_gone_is_lost(folder: Location):
    lease = elsewhere(folder)
    folder.remove()
    with pytest.raises(LeaseLost, match=r"has ended or was taken over"):
        lease.check()


def test_a_run_that_was_taken_over_stops_beating_and_releases_nothing(folder: Location):
    with hold(folder) as lease:
        later = elsewhere(folder, 2)
        until(lambda: "lease-heartbeat" not in {thread.name for thread in threading.enumerate()}, "it still beats")
        first = lease.location.read()
    assert lease.location.read() == first
    assert latest(folder) == later


@pytest.mark.parametrize("content", ["", "no JSON", "[1]", json.dumps({"number": 1})])
def test_a_damaged_lease_is_refused(folder: Location, content: str):
    (folder / "lease-000001.json").write(content.encode())
    with pytest.raises(CorruptStore, match=r"lease-000001.json is not a lease. If no run is writing, delete it"), hold(folder):
        pass


def test_the_patient_wait_as_long_as_the_holder_lives(folder: Location, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(leases, "_patience", ContextVar("patience", default=0.0))
    waits = threading.Event()

    def second() -> int:
        with patient(), hold(folder, waiting=lambda _: waits.set()) as lease:
            return lease.number

    with ThreadPoolExecutor(1) as pool:
        with hold(folder):
            taken = pool.submit(second)
            assert waits.wait(60)
            with pytest.raises(LeaseHeld), hold(folder):  # who is not patient gives up at once
                pass
            assert not taken.done()
        assert taken.result(60) == 2
