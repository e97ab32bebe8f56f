"""`trunkline metrics`, and logs as JSON beside `--json`, as a user starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

PROGRAM = [sys.executable, "-c", "from trunkline.cli import main; main()"]


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        (["metrics"], {}, "Which folder? Name the one that runs count into with --folder, or set TRUNKLINE_METRICS_DIR"),
        (
            ["metrics", "--folder", "m"],
            {"TRUNKLINE_METRICS_PORT": "http"},
            "TRUNKLINE_METRICS_PORT is 'http'; a port is a number",
        ),
        (["metrics", "--folder", "m"], {"TRUNKLINE_METRICS_PORT": "70000"}, "TRUNKLINE_METRICS_PORT is '70000'; a port"),
    ],
)
def test_what_cannot_be_served_is_refused(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, words: list[str], environment: dict[str, str], message: str
) -> None:
    monkeypatch.delenv("TRUNKLINE_METRICS_DIR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ended = cli(*words)
    assert ended.code == 2
    assert message in ended.said


def test_the_endpoint_takes_folder_and_port_from_the_environment_and_ends_when_told(tmp_path: Path) -> None:
    environment = {**os.environ, "TRUNKLINE_METRICS_DIR": str(tmp_path / "metrics"), "TRUNKLINE_METRICS_PORT": "0"}
    served = subprocess.Popen([*PROGRAM, "metrics"], env=environment, stderr=subprocess.PIPE, text=True)
    assert served.stderr is not None
    url = served.stderr.readline().split()[-1]
    with urllib.request.urlopen(url.replace("/metrics", "/healthz"), timeout=30) as answer:
        assert answer.read() == b"ok\n"
    served.send_signal(signal.SIGTERM)
    assert served.wait(30) == 0
    served.stderr.close()


def test_json_logs_go_to_stderr_whole_and_stdout_keeps_one_object(tmp_path: Path) -> None:
    images = tmp_path / "photos"
    images.mkdir()
    (images / "a.png").write_bytes(b"")
    environment = {**os.environ, "TRUNKLINE_LOG_FORMAT": "json"}
    options = ["--source", str(images), "--store", str(tmp_path / "store"), "--json"]
    done = subprocess.run([*PROGRAM, "scan", *options], env=environment, capture_output=True, text=True, timeout=120)
    assert json.loads(done.stdout)["added"] == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["dataset"] for line in lines} == {"photos"}
    assert len({line["run"] for line in lines}) == 1
    assert lines[0]["message"] == "scan of photos starts"
    assert lines[-1]["message"].endswith("1 new, 0 changed, 0 renamed, 0 removed, 0 unchanged")

    done = subprocess.run(
        [*PROGRAM, "status", str(tmp_path / "no")], env=environment, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = [json.loads(line) for line in done.stderr.splitlines()]
    assert (line["level"], line["error"]) == ("ERROR", "StoreError")
