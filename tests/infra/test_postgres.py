"""PostgreSQL as a process: found, run by somebody who is not root, its leftovers removed."""

from __future__ import annotations

import dataclasses
import os
import pwd
import shutil
from pathlib import Path

import pytest

from infra.stack import postgres
from infra.stack.compose import read_services, read_variables
from infra.stack.errors import MissingPart, StackError
from infra.stack.stack import LOCAL
from infra.stack.translation import Place, Process, translated
from tests.infra.files import COMPOSE


def process(data: Path, **environment: str) -> Process:
    services = read_services(COMPOSE, read_variables(LOCAL))
    ports = {(name, port.inside): 1 for service in services for name in service.processes for port in service.ports}
    found = translated(services, Place(Path("/checkout"), data, data, ports, {"postgres": data}))[0]
    return dataclasses.replace(found, environment={**found.environment, **environment})


def test_the_newest_server_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("9.6", "15", "17"):
        (tmp_path / version / "bin").mkdir(parents=True)
        for program in ("initdb", "postgres"):
            (tmp_path / version / "bin" / program).touch()
    (tmp_path / "18/bin").mkdir(parents=True)  # clients alone
    monkeypatch.setattr(postgres, "DEBIAN", tmp_path)
    assert postgres.binaries() == tmp_path / "17/bin"


def test_a_server_in_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("initdb", "postgres"):
        (tmp_path / program).touch(mode=0o755)
    monkeypatch.setattr(postgres, "DEBIAN", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert postgres.binaries() == tmp_path


def test_a_missing_server_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPart, match=r"PostgreSQL is not installed here .* apt-get install postgresql") as caught:
        postgres.binaries()
    assert caught.value.exit_code == 2


def test_root_runs_it_as_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert postgres.user().uid not in (None, 0)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert postgres.user() == postgres.User(None, None)


def test_without_anybody_to_run_it_as_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", nobody)
    with pytest.raises(MissingPart, match="PostgreSQL does not run as root, and there is no user 'postgres' or 'nobody'"):
        postgres.user()


def test_its_data_lies_where_its_user_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(postgres, "user", lambda: postgres.User(None, None))
    assert postgres.data_folder(closed / "data") == closed / "data"
    monkeypatch.setattr(postgres, "user", lambda: postgres.User(101, 101))
    elsewhere = postgres.data_folder(closed / "data")
    try:
        assert elsewhere.parent == Path("/var/tmp")
    finally:
        elsewhere.rmdir()


def test_initdb_s_own_words_are_passed_on(tmp_path: Path) -> None:
    data = postgres.data_folder(tmp_path / "data")
    try:
        with pytest.raises(StackError, match=r"initdb failed, so Prefect has no database: .*superuser name"):
            postgres.create(process(data, POSTGRES_USER="pg_reserved"))
    finally:
        shutil.rmtree(data)


def test_the_command_is_the_image_s_with_this_machine_s_binary(tmp_path: Path) -> None:
    made = process(tmp_path)
    first, *rest = postgres.command(made)
    assert Path(first) == postgres.binaries() / "postgres"
    assert tuple(rest) == (*made.command[1:], *postgres.HERE)


@pytest.mark.parametrize(
    ("lines", "removed"),
    [
        ("77\n/data\n0\n5432\n\n127.0.0.1\n  4242   9\nready\n", True),
        ("78\n/data\n0\n5432\n\n127.0.0.1\n  4242   9\nready\n", False),  # another server made it
        ("77\n/data\n0\n5432\n\n127.0.0.1\n  4243   9\nready\n", False),  # the number was given away
        ("77\n", False),
        (None, False),
    ],
)
def test_only_a_killed_server_s_own_segment_is_removed(
    lines: str | None, removed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments = tmp_path / "shm"
    segments.write_text("key shmid cpid nattch\n4242 9 77 0\n5 10 77 0\n")
    if lines is not None:
        (tmp_path / "postmaster.pid").write_text(lines)
    calls: list[list[str]] = []

    def ipcrm(words: list[str], **_: object) -> None:
        calls.append(words)
        segments.write_text("key shmid cpid nattch\n5 10 77 0\n")

    monkeypatch.setattr(postgres, "SEGMENTS", segments)
    monkeypatch.setattr(postgres.subprocess, "run", ipcrm)
    postgres.forget_shared_memory(tmp_path)
    assert calls == ([["ipcrm", "--shmem-id", "9"]] if removed else [])
