"""What a run shows while it works: the bar moves often, the log says it once a minute."""

from __future__ import annotations

import logging

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
    monkeypatch.setattr(ProgressArtifact, "_publish", lambda _self, share, _words: shown.append(share))
    progress = ProgressArtifact("extraction", clock=lambda: now[0])
    for done in range(0, 3001):  # one image a second
        now[0] = float(done)
        progress(Step("extract", done, 3000))
    assert len(shown) == 1501
    assert shown[-1] == 100.0
    assert len(caplog.messages) == 51
    assert caplog.messages[0] == "extract: 0 of 3,000"
    assert caplog.messages[-1] == "extract: 3,000 of 3,000"
