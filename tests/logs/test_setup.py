"""A process's own log: text for people, JSON lines for machines, and refusals of what is neither."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime

import pytest

from trunkline.errors import SpecError
from trunkline.logs import setup

PROGRAM = """
import logging, warnings
from trunkline.logs import about, outlet, setup
setup.configure()
log = logging.getLogger("trunkline.here")
with about(run="r1", dataset="photos", shard="000000000064"):
    log.info("An image is at %s", "https://ann:pa55@host/x.jpg")
log.warning("Nothing is known")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("It went wrong")
logging.getLogger("other").warning("Another library")
logging.getLogger("other").info("Another library's small talk")
for number in range(100):
    log.warning("Number %d", number)
outlet.tell()
"""


def logged(program: str = PROGRAM, **environment: str) -> str:
    without = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
    done = subprocess.run(
        [sys.executable, "-c", program], env={**without, **environment}, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == ""
    return done.stderr


def test_json_lines_hold_what_a_search_needs() -> None:
    lines = [json.loads(line) for line in logged(TRUNKLINE_LOG_FORMAT="json").splitlines()]
    first, second, third, fourth, *numbers = lines
    when = datetime.fromisoformat(first.pop("timestamp"))
    assert when.utcoffset().total_seconds() == 0
    assert first.pop("pid") > 0
    assert first == {
        "level": "INFO",
        "logger": "trunkline.here",
        "message": "An image is at https://host/x.jpg",
        "run": "r1",
        "dataset": "photos",
        "shard": "000000000064",
    }
    assert set(second) == {"timestamp", "level", "logger", "message", "pid"}
    assert third["exception"].startswith("Traceback")
    assert third["exception"].endswith("ZeroDivisionError: division by zero")
    assert (fourth["logger"], fourth["message"]) == ("other", "Another library")
    assert len(numbers) == 21
    assert numbers[-1]["message"] == "80 more like: Number %d"


def test_text_is_a_line_a_record_with_what_is_known_behind_it() -> None:
    lines = logged(TRUNKLINE_LOG_LEVEL="info").splitlines()
    assert lines[0].endswith("Z INFO An image is at https://host/x.jpg [run=r1 dataset=photos shard=000000000064]")
    assert lines[1].endswith("Z WARNING Nothing is known")
    assert "ZeroDivisionError: division by zero" in lines


def test_without_a_word_only_warnings_are_shown() -> None:
    assert "An image is at" not in logged()
    assert "Nothing is known" in logged()


def test_libraries_with_handlers_of_their_own_write_json_too() -> None:
    program = (
        "import logging; from trunkline.logs import setup; setup.configure(); import distributed; setup.adopt_others();"
        "logging.getLogger('distributed.worker').warning('Memory is short'); import warnings; warnings.warn('Old')"
    )
    lines = [json.loads(line) for line in logged(program, TRUNKLINE_LOG_FORMAT="json").splitlines()]
    assert (lines[0]["logger"], lines[0]["message"]) == ("distributed.worker", "Memory is short")
    assert lines[1]["logger"] == "py.warnings"


def test_handlers_that_are_there_get_neither_secrets_nor_counts_of_workers() -> None:
    program = (
        "import logging; logging.basicConfig(format='%(message)s'); from trunkline.logs import setup\n"
        "for _ in range(2): setup.configure(logging.INFO, text=False)\n"
        "log = logging.getLogger('trunkline.here')\n"
        "log.info('An image is at %s', 'https://ann:pa55@host/x.jpg'); log.info('3 more like: x', extra={'held_back': 3})\n"
        "log.info('All is well')"
    )
    assert logged(program).splitlines() == ["An image is at https://host/x.jpg", "All is well"]


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("TRUNKLINE_LOG_FORMAT", "jsn", "TRUNKLINE_LOG_FORMAT is 'jsn', and there are: text, json. Did you mean json?"),
        ("TRUNKLINE_LOG_LEVEL", "loud", "TRUNKLINE_LOG_LEVEL is 'LOUD', and there are: DEBUG, INFO, WARNING, ERROR."),
    ],
)
def test_what_is_no_format_or_level_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SpecError) as refused:
        setup.configure()
    assert str(refused.value) == words
