"""The stack's folder: settings, data, logs, who runs, and the environment for people and tests."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.stack.errors import MissingPart
from infra.stack.processes import Started

VERSION = 1
SETTINGS = "settings.json"
FOLDERS = ("data", "scratch", "logs", "pids")
CONTENTS = (*FOLDERS, "environment", SETTINGS, "lock")


@dataclass(frozen=True)
class Settings:
    """What was decided when the folder was made: it stays until `down`."""

    stack_id: str
    ports: Mapping[str, int]  # "process:port in its container" → port here
    variables: Mapping[str, str]  # what compose.yaml's variables are
    elsewhere: Mapping[str, str]  # volumes that lie outside the folder
    version: int = VERSION


@dataclass(frozen=True)
class Folder:
    """A stack's folder."""

    path: Path

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def scratch(self) -> Path:
        return self.path / "scratch"

    @property
    def environment(self) -> Path:
        return self.path / "environment"

    @property
    def exists(self) -> bool:
        return (self.path / SETTINGS).exists()

    def log(self, process: str) -> Path:
        return self.path / "logs" / f"{process}.log"

    def create(self, settings: Settings) -> None:
        """Raises MissingPart where something else lies there."""
        if self.path.exists() and {entry.name for entry in self.path.iterdir()} - {"lock"}:
            raise MissingPart(
                f"{self.path} holds other files, and a stack needs a folder of its own. Name another one: STACK=folder."
            )
        for name in FOLDERS:
            (self.path / name).mkdir(parents=True)
        self.write(settings)

    def write(self, settings: Settings) -> None:
        _write_private(self.path / SETTINGS, json.dumps(asdict(settings), indent=1))

    def settings(self) -> Settings:
        """Raises MissingPart where there is none, or one of another version."""
        if not self.exists:
            raise MissingPart(f"There is no stack in {self.path}. Start one with make stack, or name its folder: STACK=folder.")
        read = json.loads((self.path / SETTINGS).read_text())
        if read.get("version") != VERSION:
            raise MissingPart(
                f"{self.path} was made by another version of trunkline. End it with that version's make stack-down."
            )
        return Settings(**read)

    def started(self, process: str) -> Started | None:
        """Who runs, or ran, as this process."""
        try:
            return Started(**json.loads(self._pid_file(process).read_text()))
        except FileNotFoundError:
            return None

    def remember(self, process: str, started: Started) -> None:
        self._pid_file(process).write_text(json.dumps(asdict(started)))

    def forget(self, process: str) -> None:
        self._pid_file(process).unlink(missing_ok=True)

    def remembered(self) -> tuple[str, ...]:
        return tuple(sorted(file.stem for file in (self.path / "pids").glob("*.json")))

    @property
    def prefect_home(self) -> Path:
        """Prefect's home for people: theirs stays as it is."""
        return self.scratch / "people" / "prefect"

    def write_environment(self, values: Mapping[str, str]) -> None:
        """A file to be sourced by a shell."""
        self.prefect_home.mkdir(parents=True, exist_ok=True)
        lines = [
            f"# The environment of the stack in {self.path}; in a shell: . {shlex.quote(str(self.environment))}",
            "unset AWS_PROFILE AWS_SESSION_TOKEN AWS_ENDPOINT_URL_S3",
            *(f"export {name}={shlex.quote(value)}" for name, value in values.items()),
        ]
        _write_private(self.environment, "\n".join(lines) + "\n")

    def remove(self) -> list[str]:
        """Delete what the stack made. Returns the names of what else lies there, which stays."""
        for place in self.settings().elsewhere.values():
            shutil.rmtree(place, ignore_errors=True)
        for name in CONTENTS:
            entry = self.path / name
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
        others = sorted(entry.name for entry in self.path.iterdir())
        if not others:
            self.path.rmdir()
        return others

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One command at a time."""
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with (self.path / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        finally:
            with contextlib.suppress(OSError):  # nothing was made, or all of it is gone
                if [entry.name for entry in self.path.iterdir()] == ["lock"]:
                    (self.path / "lock").unlink()
                    self.path.rmdir()

    def _pid_file(self, process: str) -> Path:
        return self.path / "pids" / f"{process}.json"


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
