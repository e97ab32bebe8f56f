"""PostgreSQL without its image: what the image's entry does before it starts the server, and what a killed server leaves behind."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.stack.errors import MissingPart, StackError
from infra.stack.translation import Process

SERVICE = VOLUME = "postgres"
DEBIAN = Path("/usr/lib/postgresql")
SEGMENTS = Path("/proc/sysvipc/shm")
# no socket files, whose paths may be 107 bytes long, and shared memory in files of the data folder, so that no kill leaves any behind
HERE = ("-c", "unix_socket_directories=", "-c", "dynamic_shared_memory_type=mmap")
PATIENCE_SECONDS = 10


@dataclass(frozen=True)
class User:
    """Whom the server runs as: None and None where that is who we are."""

    uid: int | None
    gid: int | None


def binaries() -> Path:
    """The folder with `postgres` and `initdb`: the newest of Debian's, else what PATH names. Raises MissingPart."""
    found = [folder for folder in DEBIAN.glob("*/bin") if (folder / "initdb").exists() and (folder / "postgres").exists()]
    if found:
        return max(found, key=lambda folder: [int(part) for part in re.findall(r"\d+", folder.parent.name)])
    there = shutil.which("initdb")
    if there and (Path(there).resolve().parent / "postgres").exists():
        return Path(there).resolve().parent
    raise MissingPart(
        "PostgreSQL is not installed here (no initdb in /usr/lib/postgresql/*/bin or PATH), and Prefect keeps its runs in it. "
        "Install it (Debian and Ubuntu: apt-get install postgresql; Fedora: dnf install postgresql-server), then start this again."
    )


def user() -> User:
    """PostgreSQL refuses to run as root, so as root somebody else: `postgres`, else `nobody`."""
    if os.geteuid() != 0:
        return User(None, None)
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return User(entry.pw_uid, entry.pw_gid)
    raise MissingPart("PostgreSQL does not run as root, and there is no user 'postgres' or 'nobody' to run it as. Make one.")


def data_folder(wanted: Path) -> Path:
    """`wanted`, or a folder elsewhere where its user could not get there: PostgreSQL asks for every folder of the path."""
    parents = [parent for parent in wanted.parents if parent.exists()]
    if user().uid is None or all(parent.stat().st_mode & 0o001 for parent in parents):
        return wanted
    return Path(tempfile.mkdtemp(prefix="trunkline-postgres-", dir="/var/tmp"))


def create(process: Process) -> None:
    """Make the data folder and the database, once, as the image's entry does. Raises StackError with initdb's words."""
    pgdata = Path(process.environment["PGDATA"])
    if (pgdata / "created").exists():
        return
    shutil.rmtree(pgdata, ignore_errors=True)  # one that was killed half way
    owner = user()
    pgdata.mkdir(mode=0o700, parents=True)
    if owner.uid is not None and owner.gid is not None:
        os.chown(pgdata, owner.uid, owner.gid)
        os.chown(pgdata.parent, owner.uid, owner.gid)
    values = process.environment
    where = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TMPDIR": str(pgdata.parent)}
    with _password_file(pgdata.parent, values["POSTGRES_PASSWORD"], owner) as secret:
        _as(
            owner,
            [
                *(str(binaries() / "initdb"), f"--pgdata={pgdata}", f"--username={values['POSTGRES_USER']}"),
                *("--encoding=UTF8", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync"),
            ],
            where,
        )
    statement = f'CREATE DATABASE "{values["POSTGRES_DB"]}";\n'
    _as(owner, [str(binaries() / "postgres"), "--single", "-D", str(pgdata), "template1"], where, statement)
    (pgdata / "created").touch()


def command(process: Process) -> tuple[str, ...]:
    """The image's command with this machine's binary, and what only matters without a container."""
    return (str(binaries() / process.command[0]), *process.command[1:], *HERE)


def forget_shared_memory(pgdata: Path) -> None:
    """Remove the small System V segment of a server that was killed. One that anybody is attached to stays."""
    try:
        lines = (pgdata / "postmaster.pid").read_text().splitlines()
        key, number = lines[6].split()
    except (OSError, IndexError, ValueError):
        return
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        segment = _segment(number)
        if segment is None or segment["key"] != key or segment["cpid"] != lines[0]:
            return
        if segment["nattch"] == "0":
            subprocess.run(["ipcrm", "--shmem-id", number], check=False, capture_output=True)
        time.sleep(0.1)  # the killed server's children notice within moments


def _segment(number: str) -> dict[str, str] | None:
    names, *rows = (line.split() for line in SEGMENTS.read_text().splitlines())
    found = (dict(zip(names, row, strict=True)) for row in rows)
    return next((row for row in found if row["shmid"] == number), None)


@contextlib.contextmanager
def _password_file(folder: Path, password: str, owner: User) -> Iterator[str]:
    with tempfile.NamedTemporaryFile("w", dir=folder) as file:
        file.write(password)
        file.flush()
        if owner.uid is not None and owner.gid is not None:
            os.chown(file.name, owner.uid, owner.gid)
        yield file.name


def _as(owner: User, words: list[str], environment: dict[str, str], text: str = "") -> None:
    done = subprocess.run(
        words,
        input=text,
        env=environment,
        capture_output=True,
        text=True,
        cwd="/",
        user=owner.uid,
        group=owner.gid,
        extra_groups=None if owner.uid is None else [],
    )
    if done.returncode:
        raise StackError(f"{Path(words[0]).name} failed, so Prefect has no database: {(done.stderr or done.stdout).strip()}")
