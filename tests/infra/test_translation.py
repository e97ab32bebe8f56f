"""Containers → processes: the very same commands, with loopback for host names and folders for volumes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import MappingProxyType

import pytest

from infra.stack.compose import Mount, Port, Service, read_services, read_variables
from infra.stack.stack import LOCAL
from infra.stack.translation import Place, Process, translated
from tests.infra.files import COMPOSE

NUMBERS = range(31000, 32000)


def everything() -> tuple[Process, ...]:
    services = read_services(COMPOSE, {**read_variables(LOCAL), "PREFECT_PORT": "31999"})
    names = [(process, port.inside) for service in services for process in service.processes for port in service.ports]
    place = Place(
        checkout=Path("/checkout"),
        data=Path("/stack/data"),
        scratch=Path("/stack/scratch"),
        ports=dict(zip(names, NUMBERS, strict=False)),
        elsewhere={"postgres": Path("/var/tmp/database")},
    )
    return translated(services, place)


PROCESSES = {process.name: process for process in everything()}


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_runs_what_the_container_runs(name: str) -> None:
    """Word for word, but for words that hold an address, a port or a folder."""
    process = PROCESSES[name]
    assert len(process.command) == len(process.service.command)
    for here, there in zip(process.command, process.service.command, strict=True):
        moved = any(sign in there for sign in ("0.0.0.0", "/var/", "://")) or there in {
            str(port.inside) for port in process.service.ports
        }
        moved = moved or there == "port=5432"
        assert (here != there) == moved, (here, there)


@pytest.mark.parametrize("name", PROCESSES)
def test_nothing_is_left_of_containers(name: str) -> None:
    """No other address than loopback, no host name, no path of the image."""
    process = PROCESSES[name]
    for text in (*process.command, *process.environment.values(), *process.check):
        assert "0.0.0.0" not in text
        assert not any(f"//{other.service.name}:" in text or f"@{other.service.name}:" in text for other in PROCESSES.values())
        assert not text.startswith(("/app", "/home", "/tmp", "/var/lib"))


def test_addresses_ports_and_folders() -> None:
    server, worker = PROCESSES["prefect-server"], PROCESSES["prefect-worker"]
    port = server.command[-1]
    assert int(port) in NUMBERS
    assert server.environment["PREFECT_API_DATABASE_CONNECTION_URL"] == "postgresql+asyncpg://prefect@127.0.0.1:31000/prefect"
    assert server.environment["PREFECT_UI_API_URL"] == "http://127.0.0.1:31999/api"
    assert server.check[-1] == f"http://127.0.0.1:{port}/api/ready"
    assert worker.environment["PREFECT_API_URL"] == f"http://127.0.0.1:{port}/api"
    assert worker.environment["PYTHONPATH"] == "/checkout:/checkout/src"
    assert worker.environment["DASK_CONFIG"] == "/checkout/infra/dask.yaml"
    assert (
        worker.environment["TRUNKLINE_METRICS_DIR"]
        == "/stack/data/metrics"
        == PROCESSES["metrics"].environment["TRUNKLINE_METRICS_DIR"]
    )
    assert worker.environment["HOME"] == "/stack/scratch/prefect-worker/home-trunkline"
    assert PROCESSES["postgres"].environment["PGDATA"] == "/var/tmp/database/pgdata"


def test_each_worker_has_its_own_port_and_folder() -> None:
    first, second = PROCESSES["dask-worker-1"], PROCESSES["dask-worker-2"]
    assert first.command[2] == second.command[2]
    assert first.check != second.check
    assert "--local-directory=/stack/scratch/dask-worker-1/var-lib-dask" in first.command
    assert "--local-directory=/stack/scratch/dask-worker-2/var-lib-dask" in second.command


def small(**changes: object) -> Service:
    service = Service(
        name="one",
        command=(
            "run",
            "0.0.0.0:80",
            "80",
            "8080",
            "1.80",
            "one:80",
            "someone:80",
            "/data",
            "/data/x",
            "/database",
            "two:90",
            "9.0.0.0.0",
        ),
        environment=MappingProxyType({}),
        ports=(Port(80), Port(81)),
        mounts=(Mount("/data", "volume"),),
        check=(),
        start_period=1,
        needs=MappingProxyType({}),
        replicas=1,
        runs_once=False,
        stop_signal="SIGTERM",
        grace=1,
    )
    return dataclasses.replace(service, **changes)  # type: ignore[arg-type]


def test_only_whole_words_are_replaced_and_none_twice() -> None:
    """Port 80 is at 81 here, and 81 at 90: what was put in is not replaced again."""
    ports = {("one", 80): 81, ("one", 81): 90, ("two", 90): 80}
    place = Place(Path("/checkout"), Path("/app/data"), Path("/app/scratch"), ports, {})
    services = [small(), small(name="two", ports=(Port(90),))]
    command = translated(services, place)[0].command
    assert command == (
        *("run", "127.0.0.1:81", "81", "8080", "1.80", "127.0.0.1:81", "someone:81"),
        *("/app/data/volume", "/app/data/volume/x", "/database", "127.0.0.1:80", "9.0.0.0.0"),
    )
