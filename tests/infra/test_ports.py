"""The usual ports where they are free, else others, never one twice."""

from __future__ import annotations

import socket

from infra.stack import ports
from infra.stack.compose import Service, read_services, read_variables
from infra.stack.stack import LOCAL
from tests.infra.files import COMPOSE


def services() -> tuple[Service, ...]:
    return read_services(COMPOSE, read_variables(LOCAL))


def test_a_taken_port_is_left_to_its_owner() -> None:
    with socket.socket() as owner, socket.socket() as free:
        owner.bind(("0.0.0.0", 0))
        owner.listen()
        free.bind(("127.0.0.1", 0))
        taken, wanted = owner.getsockname()[1], free.getsockname()[1]
        free.close()
        chosen = ports.choose(services(), {"PREFECT_PORT": taken, "S3_PORT": wanted}, usual=True)
    assert chosen["prefect-server", 4200] != taken
    assert chosen["s3", 5000] == wanted


def test_every_port_of_every_process_is_another_one() -> None:
    chosen = ports.choose(services(), {}, usual=False)
    expected = {(process, port.inside) for service in services() for process in service.processes for port in service.ports}
    assert set(chosen) == expected
    assert len(set(chosen.values())) == len(chosen)
