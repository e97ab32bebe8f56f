"""The environment fingerprint: what decides the last bits, the same in every process of a machine."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import numpy as np
import PIL

from trunkline import environment


def test_it_names_decoders_and_processor():
    found = environment.fingerprint()
    assert (found["numpy"], found["pillow"], found["python"]) == (np.__version__, PIL.__version__, platform.python_version())
    assert set(found) == {
        "python", "machine", "processor", "cpu_flags", "numpy", "simplejpeg", "opencv-python-headless", "pillow"
    }  # fmt: skip
    assert all(isinstance(value, str) for value in found.values())
    assert found["processor"]


def test_another_process_has_the_same():
    code = "import json; from trunkline.environment import fingerprint; import sys; json.dump(fingerprint(), sys.stdout)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(ended.stdout) == environment.fingerprint()


def test_a_line_that_is_not_there_is_empty():
    assert environment._cpuinfo("no such key") == ""


def test_a_machine_without_cpuinfo_has_a_fingerprint(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "Path", lambda _: tmp_path / "missing")
    environment.fingerprint.cache_clear()
    try:
        found = environment.fingerprint()
        assert found["processor"] == platform.processor()
        assert found["cpu_flags"] == environment.digest_of([])
    finally:
        environment.fingerprint.cache_clear()
