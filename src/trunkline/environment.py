"""The environment fingerprint: what decides the last bits of a feature on this machine."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path

from trunkline.specs import digest_of


@cache
def fingerprint() -> dict[str, str]:
    """Versions of the decoders, the processor's name and a digest of its flags."""
    packages = ("numpy", "simplejpeg", "opencv-python-headless", "pillow")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": _cpuinfo("model name") or platform.processor(),
        "cpu_flags": digest_of(sorted(_cpuinfo("flags").split())),
        **{package: version(package) for package in packages},
    }


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")
