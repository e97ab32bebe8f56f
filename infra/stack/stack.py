"""One stack: its folder, its settings, its processes; start, stop and look."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path

from infra.stack import compose, ports, postgres, processes
from infra.stack.errors import MissingPart
from infra.stack.folder import Folder, Settings
from infra.stack.starting import Say, Starter, healthy
from infra.stack.translation import Place, Process, translated

CHECKOUT = Path(__file__).parents[2]
COMPOSE = CHECKOUT / "infra/compose.yaml"
LOCAL = CHECKOUT / "infra/local.env"
FOR_PEOPLE = ("PREFECT_API_URL", "PREFECT_CLIENT_", "TRUNKLINE_", "AWS_", "DASK_CONFIG", "DO_NOT_TRACK")


@dataclass(frozen=True)
class Health:
    """How a process is: `state` is healthy, unhealthy, dead, done or stopped; memory in bytes, of its children too."""

    name: str
    state: str
    pid: int | None = None
    memory: int = 0


@dataclass(frozen=True)
class Stack:
    """The stack in a folder."""

    folder: Folder

    @cached_property
    def settings(self) -> Settings:
        return self.folder.settings()

    @cached_property
    def processes(self) -> tuple[Process, ...]:
        """All processes that compose.yaml asks for, in its order."""
        chosen = {tuple(name.rsplit(":", 1)): number for name, number in self.settings.ports.items()}
        place = Place(
            checkout=CHECKOUT,
            data=self.folder.data,
            scratch=self.folder.scratch,
            ports={(name, int(inside)): number for (name, inside), number in chosen.items()},
            elsewhere={volume: Path(there) for volume, there in self.settings.elsewhere.items()},
        )
        return translated(services(self.settings.variables), place)

    def named(self, names: Sequence[str]) -> tuple[Process, ...]:
        """The processes of these services, or with these names. Raises MissingPart for one that there is not."""
        known = {process.name for process in self.processes} | {process.service.name for process in self.processes}
        for name in names:
            if name not in known:
                raise MissingPart(f"The stack has no service {name!r}. It has: {', '.join(sorted(known))}.")
        return tuple(process for process in self.processes if {process.name, process.service.name} & set(names))

    def start(self, wanted: Sequence[Process], say: Say) -> list[str]:
        """Start what does not run of these, and the jobs that depend on what was started; return the names of those started."""
        starter = Starter(self.folder, self.settings.stack_id, CHECKOUT, say)
        starter.run(wanted)
        again = {process.service.name for process in wanted if process.name in starter.started}
        jobs = [process for process in self.processes if process.service.runs_once and again & set(process.service.needs)]
        starter.run(process for process in jobs if process not in wanted)
        return starter.started

    def stop(self, wanted: Sequence[Process], say: Say) -> None:
        """End these, those that need others first, and all that they started."""
        for process in sorted(wanted, key=self._rank, reverse=True):
            started = self.folder.started(process.name)
            if started and started.alive:
                say(f"  {process.name:<16} ends")
                processes.end(started, process.service.stop_signal, process.service.grace)
            processes.end_marked(self.settings.stack_id, process.name)
            if process.service.name == postgres.SERVICE:
                postgres.forget_shared_memory(Path(process.environment["PGDATA"]))
            self.folder.forget(process.name)

    def _rank(self, process: Process) -> int:
        needs = {each.service.name: set(each.service.needs) for each in self.processes}
        return list(TopologicalSorter(needs).static_order()).index(process.service.name)

    def health(self) -> list[Health]:
        """How each process is now."""
        return [self._health(process) for process in self.processes]

    def _health(self, process: Process) -> Health:
        started = self.folder.started(process.name)
        if started is None:
            return Health(process.name, "stopped")
        if process.service.runs_once:
            return Health(process.name, "done")
        if not started.alive:
            return Health(process.name, "dead")
        state = "healthy" if healthy(process, CHECKOUT) else "unhealthy"
        return Health(process.name, state, started.pid, processes.memory(started))

    def environment(self) -> dict[str, str]:
        """What people, tests and commands need to talk to the stack."""
        worker = self.named(["prefect-worker"])[0]
        values = {name: value for name, value in worker.environment.items() if name.startswith(FOR_PEOPLE)}
        return {
            **values,
            "TRUNKLINE_METRICS_PORT": self.settings.variables["TRUNKLINE_METRICS_PORT"],
            "TRUNKLINE_LOG_FORMAT": "text",
            "PREFECT_HOME": str(self.folder.prefect_home),
        }


def services(variables: Mapping[str, str]) -> tuple[compose.Service, ...]:
    """The services of compose.yaml with these variables."""
    return compose.read_services(COMPOSE, variables)


def new_settings(folder: Folder, workers: int, usual_ports: bool) -> Settings:
    """Decide what stays as long as the folder: an id, a password, ports, where PostgreSQL's data can lie."""
    variables = {
        **compose.read_variables(LOCAL),
        "POSTGRES_PASSWORD": secrets.token_urlsafe(24),
        "WORKERS": str(workers),
    }
    published = compose.published_ports(COMPOSE.read_text())
    chosen = ports.choose(services(variables), published, usual_ports)
    for service in services(variables):
        for port in service.ports:
            if port.variable:
                variables[port.variable] = str(chosen[service.processes[0], port.inside])
    data = folder.data / postgres.VOLUME
    there = postgres.data_folder(data)
    return Settings(
        stack_id=secrets.token_hex(8),
        ports={f"{name}:{inside}": number for (name, inside), number in chosen.items()},
        variables=variables,
        elsewhere={} if there == data else {postgres.VOLUME: str(there)},
    )
