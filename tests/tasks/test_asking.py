"""A server that is away for a while, from a flow that asks it."""

from __future__ import annotations

import logging

import httpx
import pytest
from prefect.exceptions import PrefectHTTPStatusError

from tasks import asking
from tasks.asking import asked


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, without making them."""
    made: list[float] = []
    monkeypatch.setattr(asking.time, "sleep", made.append)
    monkeypatch.setattr(asking, "get_run_logger", lambda: logging.getLogger("test"))
    return made


def status(code: int) -> PrefectHTTPStatusError:
    response = httpx.Response(code, request=httpx.Request("GET", "http://127.0.0.1/api"))
    return PrefectHTTPStatusError("said", request=response.request, response=response)


def test_it_asks_again_with_growing_pauses_until_there_is_an_answer(pauses: list[float]):
    answers = [httpx.ConnectError("refused"), status(503), httpx.ReadTimeout("late"), status(500), status(500), status(500)]

    def question() -> str:
        if answers:
            raise answers.pop(0)
        return "here"

    assert asked(question) == "here"
    assert pauses == [1.0, 2.0, 4.0, 8.0, 15.0, 15.0]


@pytest.mark.parametrize("error", [status(404), status(409), ValueError("no server's fault")])
def test_what_it_answers_is_passed_on_at_once(pauses: list[float], error: Exception):
    def question() -> None:
        raise error

    with pytest.raises(type(error)):
        asked(question)
    assert pauses == []


def test_in_the_end_it_gives_up(pauses: list[float]):
    def question() -> None:
        raise httpx.ConnectError("refused")

    with pytest.raises(httpx.ConnectError, match="refused"):
        asked(question, patience=0.5)
    assert pauses == []
