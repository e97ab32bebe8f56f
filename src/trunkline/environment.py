"""The environment fingerprint: what decides the last bits of a feature on this machine."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from trunkline.specs import digest_of

DECODERS = ("numpy", "simplejpeg", "opencv-python-headless", "pillow")
MISSING = "missing"


@cache
def fingerprint() -> dict[str, str]:
    """Versions of the decoders, the processor's name and a digest of its flags."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": _cpuinfo("model name") or platform.processor(),
        "cpu_flags": digest_of(sorted(_cpuinfo("flags").split())),
        **{package: version(package) for package in DECODERS},
    }


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Package → its version, or `missing`."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = MISSING
    return found


@cache
def source_digest() -> str:
    """Of trunkline's own source files, 12 hex digits: a checkout changes without its version."""
    root, digest = Path(__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")
