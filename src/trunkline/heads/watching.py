"""Work that needs the very same workers from beginning to end: it is given up when one of them is lost, instead of waiting for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from trunkline.fan_out import workers_of

Result = TypeVar("Result")
LOOK_EVERY, GIVE_UP_AFTER = 0.5, 30.0  # seconds


class WorkerLostError(Exception):
    """A worker is gone that the work cannot do without."""


def while_there(work: Callable[[], Result], workers: Sequence[str], client: Any) -> Result:
    """What `work` gives, or raises.

    A task that is bound to a worker waits for it even when it is gone, as its successor has another address. So the work is done in a
    thread, and whoever waits in it is woken when a worker is missing.

    Raises
    ------
    WorkerLostError : one of the workers is gone.
    """
    before, results, errors = set(client.futures), list[Result](), list[BaseException]()

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # told to the one who waits
            errors.append(error)

    thread = threading.Thread(target=run, name="needs-its-workers", daemon=True)
    thread.start()
    while thread.is_alive() and _all_there(workers, client):
        thread.join(LOOK_EVERY)
    if thread.is_alive():
        _cancel(set(client.futures) - before, client)
        thread.join(GIVE_UP_AFTER)
        raise WorkerLostError
    if results:
        return results[0]
    if isinstance(errors[0], Exception) and not _all_there(workers, client):
        raise WorkerLostError from errors[0]
    raise errors[0]


def _all_there(workers: Sequence[str], client: Any) -> bool:
    return set(workers) <= set(workers_of(client))


def _cancel(keys: set[Any], client: Any) -> None:
    """Wake whoever waits for these futures; what they stood for is released with them.

    `Client.cancel` asks the scheduler to cancel what depends on them too, and where nobody wants that by itself it breaks the connection.
    """

    async def wake() -> None:
        for key in keys & set(client.futures):
            client.futures[key].cancel(reason="worker-lost", msg="A worker is gone that this was bound to.")

    client.sync(wake)
