"""Which port each process listens on: the usual one where it is free, else any that is."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Mapping, Sequence

from infra.stack.compose import Service
from infra.stack.translation import LOOPBACK

OTHERS = range(20_000, 32_000)  # below those that the system gives to outgoing connections: one of them could take it meanwhile


def choose(services: Sequence[Service], wanted: Mapping[str, int], usual: bool) -> dict[tuple[str, int], int]:
    """A free port for each port of each process; `wanted` holds the published ones by their variable.

    All are held open until the last one is chosen, so no two are the same. Without `usual` every port is any that is free.
    """
    chosen: dict[tuple[str, int], int] = {}
    with contextlib.ExitStack() as held:
        for service in services:
            for process in service.processes:
                for port in service.ports:
                    number = wanted.get(port.variable or "", port.inside) if usual else random.choice(OTHERS)
                    taken = held.enter_context(_taken(number))
                    chosen[process, port.inside] = taken.getsockname()[1]
    return chosen


def _taken(number: int) -> socket.socket:
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        holder.bind((LOOPBACK, number))
        holder.listen()  # a listener on all addresses is noticed too
    except OSError:
        holder.close()
        return _taken(random.choice(OTHERS))
    return holder
