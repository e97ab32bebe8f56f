"""What the stages' tasks share: when to retry, and how they end."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, State

from tasks.run_log import log_to_runs
from trunkline.errors import CorruptStore, GoldenMismatch, RunError, StorageError, TooManyBadImages, UserError
from trunkline.store.lease import patient

log_to_runs()

Given = ParamSpec("Given")
Receipt = TypeVar("Receipt")

FINAL = (
    UserError,
    TooManyBadImages,
    StorageError,
    CorruptStore,
    GoldenMismatch,
)  # trying again changes nothing before a person does


def worth_retrying(_task: Any, _run: Any, state: State[Any]) -> bool:
    """Infrastructure failures are retried; what a person has to mend is not."""
    try:
        state.result(raise_on_failure=True)
    except FINAL:
        return False
    except (RunError, OSError):
        return True
    except BaseException:
        return False
    return False


def stage(name: str, run_name: str | Callable[[], str]) -> Callable[[Callable[Given, Receipt]], Callable[Given, Receipt]]:
    """A function that ends with `ended` as a Prefect task; called in a flow, it gives the receipt.

    A stage finds out by itself what is done: the store knows, Prefect does not, so Prefect caches nothing. Where another run is at the
    same work, it waits for as long as that one lives, and then finds it done.
    """

    def made(work: Callable[Given, Receipt]) -> Callable[Given, Receipt]:
        @wraps(work)
        def patiently(*args: Given.args, **kwargs: Given.kwargs) -> Receipt:
            with patient():
                return work(*args, **kwargs)

        as_task = task(
            name=name,
            task_run_name=run_name,
            retries=2,
            retry_delay_seconds=[5, 30],
            retry_condition_fn=worth_retrying,
            cache_policy=NO_CACHE,
            persist_result=False,
        )(patiently)

        @wraps(work)
        def called(*args: Given.args, **kwargs: Given.kwargs) -> Receipt:
            state: Any = as_task(*args, return_state=True, **kwargs)
            return state.result()

        return called

    return made


def ended(receipt: Any, words: str, *, cached: bool = False) -> Any:
    """The state in which a stage or flow ends: what was done, in words that stand in the UI, and the receipt.

    Parameters
    ----------
    cached : nothing was left to do, and the state is called so.
    """
    return Completed(data=receipt, message=words, name="Cached" if cached else "Completed")
