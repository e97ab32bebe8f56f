"""Starting in order: what waits for what, what runs once, and what is said when one does not come up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.stack import processes
from infra.stack.compose import Service
from infra.stack.errors import StackError
from infra.stack.folder import Folder, Settings
from infra.stack.starting import Starter, environment_of
from infra.stack.translation import Process

SLEEPS = "import time; print('last words', flush=True); time.sleep(60)"


def process(name: str, code: str, *needs: str, once: bool = False, check: str = "", patience: float = 60) -> Process:
    service = Service(
        name=name,
        command=("python", "-c", code),
        environment={},
        ports=(),
        mounts=(),
        check=("python", "-c", check),
        start_period=patience,
        needs=dict.fromkeys(needs, "service_healthy"),
        replicas=1,
        runs_once=once,
        stop_signal="SIGTERM",
        grace=1,
    )
    return Process(name, service, service.command, {"NAME": name}, service.check, {})


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    made = Folder(tmp_path / "stack")
    made.create(Settings(tmp_path.name, {}, {}, {}))
    yield made
    processes.end_marked(tmp_path.name)


def start(folder: Folder, *wanted: Process) -> tuple[list[str], list[str]]:
    """Names of those started, and what was said."""
    said: list[str] = []
    starter = Starter(folder, folder.settings().stack_id, Path("/"), said.append)
    starter.run(wanted)
    return starter.started, [re.sub(r" +", " ", re.sub(r" after \d+ s", "", line)).strip() for line in said]


def test_what_is_needed_comes_first_whatever_the_order(folder: Folder, tmp_path: Path) -> None:
    """The job sees what the service wrote before it was healthy; the last one sees the job's."""
    mark = f"open({str(tmp_path / 'mark')!r}"
    wanted = (
        process("last", f"assert {mark}).read() == 'ab'; {SLEEPS}", "job", "first"),
        process("job", f"{mark}, 'a').write('b')", "first", once=True),
        process("first", f"{mark}, 'w').write('a'); {SLEEPS}", check=f"assert {mark}).read()"),
    )
    assert start(folder, *wanted) == (["first", "job", "last"], ["first healthy", "job done", "last healthy"])
    assert start(folder, *wanted) == ([], ["first healthy already", "job done already", "last healthy already"])


def test_a_job_runs_again_when_what_it_needs_was_started(folder: Folder) -> None:
    wanted = process("first", SLEEPS), process("job", "", "first", once=True)
    start(folder, *wanted)
    first = folder.started("first")
    assert first is not None
    processes.end(first, "SIGKILL", 5)
    assert start(folder, *wanted)[0] == ["first", "job"]


def test_one_that_ends_shows_its_log(folder: Folder) -> None:
    with pytest.raises(
        StackError, match=r"one ended\. The last lines of .*/logs/one\.log:\n    what is wrong\nmake stack tries again"
    ):
        start(
            folder,
            process("one", "import sys; sys.exit('what is wrong')", check="import time; time.sleep(1); raise SystemExit(1)"),
        )


def test_a_job_that_fails_shows_its_log(folder: Folder) -> None:
    with pytest.raises(StackError, match=r"job failed with exit status 3\. The last lines of .*\n    why\n"):
        start(folder, process("job", "print('why'); raise SystemExit(3)", once=True))
    assert folder.started("job") is None


def test_one_that_never_gets_healthy_shows_its_log(folder: Folder) -> None:
    with pytest.raises(StackError, match=r"one is not healthy after \d+ s\. The last lines of .*\n    last words\n"):
        start(folder, process("one", SLEEPS, check="raise SystemExit(1)", patience=0.2))


def test_nothing_of_a_person_s_environment_gets_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.setenv("LANG", "C.UTF-8")
    seen = environment_of(process("one", ""))
    assert "AWS_PROFILE" not in seen
    assert (seen["LANG"], seen["NAME"]) == ("C.UTF-8", "one")
