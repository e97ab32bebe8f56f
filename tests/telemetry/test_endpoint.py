"""The endpoint over HTTP, read as Prometheus reads it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.stores import empty_store, images_in, spec_for
from trunkline.errors import SpecError
from trunkline.telemetry import folder as figures
from trunkline.telemetry.endpoint import Endpoint
from trunkline.telemetry.folder import ProcessFile
from trunkline.telemetry.names import FIGURES, series

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    served = Endpoint(tmp_path / "metrics", "127.0.0.1", 0)
    thread = threading.Thread(target=served.serve)
    thread.start()
    yield served
    served.stop()
    thread.join(30)
    assert not thread.is_alive()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def scraped(url: str) -> Samples:
    status, text = get(url)
    assert status == 200
    families = list(text_string_to_metric_families(text))
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for each in families for sample in each.samples}


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, tuple(sorted(labels.items()))))


def test_figures_have_their_types_and_help_before_anything_was_counted(endpoint: Endpoint) -> None:
    _, text = get(endpoint.url)
    families = {each.name: each for each in text_string_to_metric_families(text)}
    assert set(families) == {name.removesuffix("_total") for name in FIGURES}
    for name, figure in FIGURES.items():
        family = families[name.removesuffix("_total")]
        assert (family.type, family.documentation) == ("counter" if figure.kind == "counter" else "gauge", figure.help)
        assert family.samples == []


def test_labels_of_any_name_are_served(endpoint: Endpoint, tmp_path: Path) -> None:
    file = ProcessFile(tmp_path / "metrics")
    file.write(series("trunkline_read_bytes_total", {"dataset": 'a"b\\c\nü'}), lambda _: 12345678901.0)
    assert value(scraped(endpoint.url), "trunkline_read_bytes_total", dataset='a"b\\c\nü') == 12345678901.0
    file.close()


def test_health_is_that_the_folder_can_be_read(endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    health = endpoint.url.replace("/metrics", "/healthz")
    assert get(health) == (200, "ok\n")
    assert get(endpoint.url.replace("/metrics", "/"))[0] == 404
    monkeypatch.setattr(figures, "LOCK_SECONDS", 0.1)
    with figures._locked(tmp_path / "metrics", 0.0):
        status, words = get(health)
        assert status == 503
        assert "is held by another process" in words
        assert get(endpoint.url)[0] == 500
    shutil.rmtree(tmp_path / "metrics")
    assert get(health)[0] == 503
    (tmp_path / "metrics").mkdir()
    assert get(health)[0] == 200


def test_a_port_in_use_and_a_folder_that_is_none_are_refused(endpoint: Endpoint, tmp_path: Path) -> None:
    port = int(endpoint.url.split(":")[2].split("/")[0])
    with pytest.raises(SpecError, match=rf"The metrics cannot be served at 127\.0\.0\.1:{port} .*Name another with --port"):
        Endpoint(tmp_path / "metrics", "127.0.0.1", port)
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match=r"file cannot be a folder of metrics .* Name another with --folder"):
        Endpoint(tmp_path / "file", "127.0.0.1", 0)


def run(spec: Any, place: Path, environment: dict[str, str]) -> dict[str, Any]:
    place.write_text(spec.model_dump_json())
    command = [sys.executable, "-c", "from trunkline.cli import main; main()", "run", str(place), "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode in (0, 2), done.stderr
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}


@pytest.mark.slow
def test_two_runs_in_two_processes_are_counted_as_their_summaries_say(
    tmp_path: Path, digits_folder: Path, compiled_lite0: Path
) -> None:
    source = images_in(tmp_path / "images", digits_folder, 160)
    (source / "3" / "broken.png").write_bytes(b"")
    store, metrics = empty_store(tmp_path / "store", compiled_lite0), tmp_path / "metrics"
    environment = {**os.environ, "TRUNKLINE_METRICS_DIR": str(metrics)}
    spec = spec_for(source, store)
    first = run(spec, tmp_path / "spec.yaml", environment)
    images_in(source, digits_folder, 100, first=160)
    (source / "4" / "page.png").write_bytes(b"<html>")
    second = run(spec, tmp_path / "spec.yaml", environment)
    refused = run(spec.model_copy(update={"source": str(tmp_path / "nowhere")}), tmp_path / "other.yaml", environment)
    assert (first["extracted"], second["extracted"], refused) == (161, 101, {})

    command = [sys.executable, "-c", "from trunkline.cli import main; main()", "metrics", "--port", "0"]
    served = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert served.stderr is not None
        url = re.search(r"http://\S+", served.stderr.readline())[0]
        samples = scraped(url)
        assert scraped(url) == samples
    finally:
        served.send_signal(signal.SIGTERM)
        assert served.wait(30) == 0
        served.stderr.close()

    def counted(name: str, **labels: str) -> float | None:
        return value(samples, f"trunkline_{name}", dataset="digits", **labels)

    ok, bad = (counted("images_total", backbone="efficientnet-lite0", status=status) for status in ("ok", "quarantined"))
    assert (ok, bad) == (second["ok"], second["quarantined"]) == (260, 2)
    assert second["reasons"] == {reason: counted("quarantined_total", reason=reason) for reason in ("empty", "not-an-image")}
    assert counted("read_bytes_total") == sum(path.stat().st_size for path in source.rglob("*.png"))
    assert counted("written_bytes_total") == 262 * 1280 * 4
    for stage in ("scan", "extract", "select", "fit"):
        both = first["seconds"][stage] + second["seconds"][stage]
        assert both - 0.01 <= counted("stage_seconds_total", stage=stage) <= both + 5
    assert all(counted("extract_seconds_total", part=part) > 0 for part in ("read", "decode", "forward", "write"))
    outcomes = ("succeeded", "refused", "failed", "stopped", "died")
    assert [counted("runs_total", outcome=outcome) for outcome in outcomes] == [2, 1, 0, 0, 0]
    assert counted("shards_left") is None
    assert counted("last_success_timestamp_seconds") > 1.7e9
    assert not [path for path in metrics.glob("*.db")]
