"""What a run shows while it works: the bar moves often, the log says it once a minute."""

from __future__ import annotations

import logging
import threading

import pytest

from tasks import publishing
from tasks.publishing import ProgressArtifact
from trunkline.progress import Step


def test_a_long_run_moves_the_bar_often_and_logs_a_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a run there is neither its logger nor a server for its artifact, so a plain logger and a list stand for them."""
    caplog.set_level(logging.INFO, "progress")
    now, shown = [0.0], list[float]()
    monkeypatch.setattr(publishing, "get_run_logger", lambda: logging.getLogger("progress"))
    monkeypatch.setattr(ProgressArtifact, "_show", lambda _self, share, _words: shown.append(share))
    progress = ProgressArtifact("extraction", clock=lambda: now[0])
    for done in range(0, 3001):  # one image a second
        now[0] = float(done)
        progress(Step("extract", done, 3000))
    assert len(shown) == 1501
    assert shown[-1] == 100.0
    assert len(caplog.messages) == 51
    assert caplog.messages[0] == "extract: 0 of 3,000"
    assert caplog.messages[-1] == "extract: 3,000 of 3,000"


def test_a_server_that_does_not_answer_holds_up_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step is on its way while the work goes on; then the last one is shown, and the bar ends with it."""
    monkeypatch.setattr(publishing, "get_run_logger", lambda: logging.getLogger("progress"))
    answers, shown = threading.Event(), list[str]()

    def publish(_self: ProgressArtifact, _share: float, words: str) -> None:
        assert answers.wait(60)
        shown.append(words)

    monkeypatch.setattr(ProgressArtifact, "_publish", publish)
    times = iter(range(0, 1000, 3))

    def stopped_halfway() -> None:
        with ProgressArtifact("extraction", clock=lambda: float(next(times))) as progress:
            for done in range(50):
                progress(Step("extract", done, 100))
            answers.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_halfway()
    assert len(shown) <= 3
    assert shown[-1] == "extract: 49 of 100, and stopped there"
