"""Who may work: every worker is compared with the process that starts the run, before its first shard and however late it joins."""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from trunkline.clusters.surroundings import Needs, Surroundings, look, look_aside
from trunkline.environment import MISSING
from trunkline.errors import ClusterError
from trunkline.fan_out import DaskExecutor, Executor

SHOWN = 10

log = logging.getLogger(__name__)

_lock = threading.Lock()
_admitted: set[str] = set()  # tokens of the admissions that this process has passed


@dataclass(frozen=True)
class Admission:
    """Asked by each worker process before its first call: raises ClusterError where it must not work."""

    driver: Surroundings
    needs: Needs
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    def __call__(self) -> None:
        with _lock:
            if self.token in _admitted:
                return
            mine = look(self.needs)
            found = faults(self.driver, mine)
            if found:
                raise refusal({f"process {mine.pid}": (mine.host, found)}, 1)
            _admitted.add(self.token)


def introduced(executor: DaskExecutor) -> None:
    """Compare the versions of workers that others have set up with ours, and learn how many cores each of them has.

    Raises
    ------
    ClusterError : other versions, or no trunkline at all.
    """
    seen = _compared(executor, look(Needs()), Needs())
    on_a_host = Counter(each.host for each in seen)
    executor.threads = min((max(1, each.cores // on_a_host[each.host]) for each in seen), default=1)
    executor.admission = Admission(look(Needs()), Needs())


@contextlib.contextmanager
def admitted(executor: Executor, needs: Needs) -> Iterator[None]:
    """Calls in here are worked on by processes that have what is needed; others end the run in words.

    Raises
    ------
    ClusterError : at once, for the workers that are there; from a `map`, for one that joined later.
    """
    if not isinstance(executor, DaskExecutor):
        yield
        return
    driver = look(Needs(needs.runtime))  # what the work needs beyond versions, this process need not have
    _compared(executor, driver, needs)
    before, executor.admission = executor.admission, Admission(driver, needs)
    try:
        yield
    finally:
        executor.admission = before


def _compared(executor: DaskExecutor, driver: Surroundings, needs: Needs) -> list[Surroundings]:
    found = executor.client.run(look_aside, needs, on_error="return")
    bad: dict[str, tuple[str, Sequence[str]]] = {}
    good: dict[str, Surroundings] = {}
    for address, each in sorted(found.items()):
        if not isinstance(each, Surroundings):
            bad[address] = ("", [f"cannot run this trunkline ({type(each).__name__}: {each}): install it there"])
        elif wrong := faults(driver, each):
            bad[address] = (each.host, wrong)
        else:
            good[address] = each
    if bad:
        raise refusal(bad, len(found))
    _tell_what_is_harmless(driver, good)
    return list(good.values())


def faults(driver: Surroundings, worker: Surroundings) -> list[str]:
    """Why a worker must not work, in words; empty where it may."""
    return [*worker.troubles, *_differences(driver.deciding, worker.deciding)]


def refusal(bad: Mapping[str, tuple[str, Sequence[str]]], asked: int) -> ClusterError:
    """One error that names each worker, its host and what is wrong with it."""
    lines = [f"\n  {name}{f' on {host}' if host else ''}: {'; '.join(wrong)}" for name, (host, wrong) in bad.items()]
    if len(lines) > SHOWN:
        lines = [*lines[:SHOWN], f"\n  and {len(lines) - SHOWN} more"]
    return ClusterError(
        f"{len(bad)} of {asked} workers cannot do this work, or would do it otherwise:{''.join(lines)}\nFeatures of other versions are not "
        "equal, and one feature set must not hold two kinds. Give all workers the image or the environment of the process that starts the "
        "run (`pip install --constraint constraints.txt`), and the same view of store and source; then start the same command again. What "
        "was committed is kept."
    )


def _differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    if not theirs:
        return []
    differing = [name for name, version in ours.items() if theirs.get(name, MISSING) != version]
    return [f"has {name} {theirs.get(name, MISSING)}, and the process that starts the run {ours[name]}" for name in differing]


def _tell_what_is_harmless(driver: Surroundings, workers: Mapping[str, Surroundings]) -> None:
    """Differences that move no feature by more than rounding, once each, with the workers that have them."""
    told: dict[str, list[str]] = {}
    for address, each in workers.items():
        for difference in _differences(driver.beside, each.beside):
            told.setdefault(difference, []).append(address)
    for difference, addresses in told.items():
        named = ", ".join(addresses[:SHOWN]) + (f" and {len(addresses) - SHOWN} more" if len(addresses) > SHOWN else "")
        log.warning(
            "%d of %d workers: %s; features are equal to rounding (%s)", len(addresses), len(workers), difference, named
        )
