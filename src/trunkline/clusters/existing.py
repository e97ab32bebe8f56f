"""A Dask scheduler that somebody else runs: found with patience, or given up with what to check."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from trunkline.clusters.patience import Patience
from trunkline.clusters.tls import security_of
from trunkline.errors import RunError
from trunkline.fan_out import workers_of
from trunkline.specs import TlsSpec

LOOK_EVERY = 0.5  # seconds, for the first worker
SAY_EVERY = 5.0


def connected(address: str, tls: TlsSpec, patience: Patience) -> Any:
    """A client of the scheduler at this address.

    Raises
    ------
    SpecError : certificate files that cannot be used.
    RunError : nobody answers.
    """
    from distributed import Client

    security = security_of(address, tls)
    _knock_until_it_answers(address, security, patience)
    try:
        return Client(address, security=security, set_as_default=False)
    except OSError as error:
        raise _silent(address, patience, error) from error


def wait_for_a_worker(client: Any, patience: Patience) -> None:
    """Raises RunError where none comes in time."""
    said = patience.spent
    while not workers_of(client):
        if patience.left <= 0:
            raise RunError(
                f"The Dask scheduler {client.scheduler.address} answers and has no workers, after waiting {patience.seconds:.0f} s. Start "
                "some (`dask worker ADDRESS`), see why those that should be there are not (their log, free memory, pending pods), or "
                "wait longer with cluster.patience; then start the same command again."
            )
        if patience.spent >= said:
            patience.say(f"The Dask scheduler {client.scheduler.address} has no workers yet")
            said = patience.spent + SAY_EVERY
        time.sleep(min(LOOK_EVERY, max(patience.left, 0.0)))


def _knock_until_it_answers(address: str, security: Any, patience: Patience) -> None:
    arguments = security.get_connection_args("client") if security else {}
    while True:
        started, seconds = time.monotonic(), patience.next_attempt()
        try:
            _apart(_knock(address, arguments, seconds))
            return
        except (OSError, ValueError) as error:  # ValueError: what answers there does not speak Dask's language
            if patience.left <= 0:
                raise _silent(address, patience, error) from error
            patience.say(f"The Dask scheduler {address} does not answer yet")
            time.sleep(max(0.0, min(started + seconds - time.monotonic(), patience.left)))


async def _knock(address: str, arguments: dict[str, Any], seconds: float) -> None:
    """One greeting, without the machinery of a client, which would have to be taken down again.

    Dask's own timeout ends when something takes the connection, even if it never greets back.
    """
    from distributed.comm import connect

    async with asyncio.timeout(seconds + 0.5):
        comm = await connect(address, timeout=seconds, **arguments)
    comm.abort()


def _apart(work: Any) -> None:
    """Run a coroutine in a thread of its own: whoever calls may have a loop that runs."""
    with ThreadPoolExecutor(1) as one:
        one.submit(asyncio.run, work).result()


def _silent(address: str, patience: Patience, error: BaseException) -> RunError:
    encrypted = address.startswith(("tls://", "wss://"))
    other = "is it one without encryption (tcp://)" if encrypted else "does it ask for TLS (tls:// and cluster.tls)"
    return RunError(
        f"No Dask scheduler answers at {address}, tried {patience.tried} ({_cause(error)}). Is it "
        f"running (`dask scheduler`), is this its host and port, does a firewall lie between, {other}? Mend it, or wait longer with "
        "cluster.patience; then start the same command again."
    )


def _cause(error: BaseException) -> str:
    """The words of the innermost error, which say most."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__
