"""compose.yaml as records: what each service runs, where it listens, what it waits for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.stack.errors import MissingPart

VARIABLE = re.compile(r"\$\{(\w+)(?:(:-|:\?)([^${}]*))?\}")  # the innermost one
SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Port:
    """A port in the container, and the variable that names the published one, if it is published."""

    inside: int
    variable: str | None = None


@dataclass(frozen=True)
class Mount:
    """A folder in the container that can be written to; `volume` is None where it is the container's own."""

    path: str
    volume: str | None = None


@dataclass(frozen=True)
class Service:
    """A service as compose.yaml describes it, its variables resolved."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    ports: tuple[Port, ...]
    mounts: tuple[Mount, ...]
    check: tuple[str, ...]
    start_period: float
    needs: Mapping[str, str]
    replicas: int
    runs_once: bool
    stop_signal: str
    grace: float

    @property
    def processes(self) -> tuple[str, ...]:
        """The names of its processes: `dask-worker-1`, `dask-worker-2` where there can be several."""
        if self.replicas == 1:
            return (self.name,)
        return tuple(f"{self.name}-{number}" for number in range(1, self.replicas + 1))


def resolved(text: str, variables: Mapping[str, str]) -> str:
    """Replace `${NAME}`, `${NAME:-default}` and `${NAME:?what to do}`, nested ones too, as Compose does.

    Raises
    ------
    MissingPart
        where a variable without a default is not set.
    """

    def value(match: re.Match[str]) -> str:
        name, rule, rest = match.groups()
        if variables.get(name):
            return variables[name]
        if rule == ":-":
            return str(rest)
        raise MissingPart(f"compose.yaml needs the variable {name}: {rest or 'set it'}.")

    while VARIABLE.search(text):
        text = VARIABLE.sub(value, text)
    return text


def published_ports(text: str) -> dict[str, int]:
    """Variable → default of each port that is published: `"127.0.0.1:${PREFECT_PORT:-4200}:4200"`."""
    return {name: int(default) for name, default in re.findall(r"127\.0\.0\.1:\$\{(\w+):-(\d+)\}:\d+\"", text)}


def read_variables(path: Path) -> dict[str, str]:
    """NAME=value lines of an environment file."""
    lines = (line.strip() for line in path.read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def read_services(path: Path, variables: Mapping[str, str]) -> tuple[Service, ...]:
    """The services that the profiles of COMPOSE_PROFILES ask for, in the file's order."""
    profiles = set(variables.get("COMPOSE_PROFILES", "").split(","))
    document = yaml.safe_load(path.read_text())["services"]
    chosen = {name: body for name, body in document.items() if profiles & set(body.get("profiles", profiles))}
    published = {name: _published(body) for name, body in chosen.items()}
    return tuple(_service(name, _all_resolved(body, variables), published[name]) for name, body in chosen.items())


def _all_resolved(value: Any, variables: Mapping[str, str]) -> Any:
    match value:
        case str():
            return resolved(value, variables)
        case list():
            return [_all_resolved(item, variables) for item in value]
        case dict():
            return {name: _all_resolved(item, variables) for name, item in value.items()}
        case _:
            return value


def _published(body: Mapping[str, Any]) -> tuple[Port, ...]:
    pattern = re.compile(r"127\.0\.0\.1:\$\{(\w+):-\d+\}:(\d+)")
    matches = [pattern.fullmatch(text) for text in body.get("ports", [])]
    return tuple(Port(int(match[2]), match[1]) for match in matches if match)


def _service(name: str, body: Mapping[str, Any], published: tuple[Port, ...]) -> Service:
    check = body.get("healthcheck", {})
    return Service(
        name=name,
        command=tuple(str(word) for word in body["command"]),
        environment={key: str(value) for key, value in body.get("environment", {}).items()},
        ports=published + tuple(Port(int(port)) for port in body.get("expose", [])),
        mounts=tuple(_mount(text) for text in body.get("volumes", [])) + tuple(_own(text) for text in body.get("tmpfs", [])),
        check=tuple(check.get("test", ())[1:]),
        start_period=_seconds(check.get("start_period", "60s")),
        needs={needed: how["condition"] for needed, how in body.get("depends_on", {}).items()},
        replicas=int(body.get("deploy", {}).get("replicas", 1)),
        runs_once=str(body.get("restart", "")).startswith("on-failure"),
        stop_signal=body.get("stop_signal", "SIGTERM"),
        grace=_seconds(body.get("stop_grace_period", "10s")),
    )


def _mount(text: str) -> Mount:
    volume, colon, path = text.partition(":")
    return Mount(path, volume) if colon else Mount(text)


def _own(text: str) -> Mount:
    return Mount(text.partition(":")[0])


def _seconds(text: str) -> float:
    return float(text[:-1]) * SECONDS[text[-1]]
