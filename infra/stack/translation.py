"""A service of compose.yaml → processes of this machine: the same words, with loopback for host names and folders for volumes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.stack.compose import Mount, Service

LOOPBACK = "127.0.0.1"
CHECKOUT_INSIDE = "/app"

Ports = Mapping[tuple[str, int], int]  # (process, port in its container) → port here


@dataclass(frozen=True)
class Process:
    """What to start for one process of a service, and how to ask whether it is healthy."""

    name: str
    service: Service
    command: tuple[str, ...]
    environment: Mapping[str, str]
    check: tuple[str, ...]
    folders: Mapping[str, Path]  # in the container → here


@dataclass(frozen=True)
class Place:
    """Where the stack lies: the checkout it runs, folders for volumes and for what is one process's own, the ports it listens on."""

    checkout: Path
    data: Path
    scratch: Path
    ports: Ports
    elsewhere: Mapping[str, Path]  # volumes that cannot lie in `data`


def translated(services: Sequence[Service], place: Place) -> tuple[Process, ...]:
    """All processes of these services, in their order."""
    return tuple(_process(name, service, services, place) for service in services for name in service.processes)


def _process(name: str, service: Service, services: Sequence[Service], place: Place) -> Process:
    folders = {mount.path: _folder(mount, name, place) for mount in service.mounts}
    rewrite = _rewriting(name, service, services, place, folders)
    environment = {key: rewrite(value) for key, value in service.environment.items()}
    return Process(
        name=name,
        service=service,
        command=tuple(rewrite(word) for word in service.command),
        environment=environment,
        check=tuple(rewrite(word) for word in service.check),
        folders=folders,
    )


def _folder(mount: Mount, process: str, place: Place) -> Path:
    if mount.volume is None:
        return place.scratch / process / mount.path.strip("/").replace("/", "-")
    return place.elsewhere.get(mount.volume, place.data / mount.volume)


def _rewriting(
    name: str, service: Service, services: Sequence[Service], place: Place, folders: Mapping[str, Path]
) -> Callable[[str], str]:
    """One pass over a text, so that nothing is replaced twice."""
    hosts = {
        f"{other.name}:{port.inside}": f"{LOOPBACK}:{place.ports[other.processes[0], port.inside]}"
        for other in services
        for port in other.ports
        if other.processes
    }
    own = {str(port.inside): str(place.ports[name, port.inside]) for port in service.ports}
    paths = {CHECKOUT_INSIDE: str(place.checkout), **{inside: str(here) for inside, here in folders.items()}}
    alternatives = [
        ("host", rf"(?<![\w.-])(?:{_any(hosts)})(?!\d)", hosts),
        ("everywhere", r"(?<![\d.])0\.0\.0\.0(?![\d.])", {"0.0.0.0": LOOPBACK}),
        ("port", rf"(?<![\w.])(?:{_any(own)})(?![\w.])", own),
        ("path", rf"(?<![\w./-])(?:{_any(paths)})(?![\w.-])", paths),
    ]
    pattern = re.compile("|".join(f"(?P<{kind}>{expression})" for kind, expression, values in alternatives if values))
    tables = {kind: values for kind, _, values in alternatives}
    return lambda text: pattern.sub(lambda match: tables[str(match.lastgroup)][match[0]], text)


def _any(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
