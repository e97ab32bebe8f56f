"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

LIBRARIES = ("tensorflow", "keras", "openvino", "distributed", "prefect", "torch", "ray")


def machine() -> dict[str, Any]:
    """Processor, cores, memory in GiB, versions, and the day."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: version for name in LIBRARIES if (version := _version(name))},
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }


def in_words(said: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in {"Python": said["python"], **said["versions"]}.items())
    return f"{said['processor']}, {said['cores']} cores, {said['memory_gib']} GiB; {versions}; {said['date']}"


def _processor() -> str:
    """The model, with family and features where a virtual machine hides the name."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    said = {key: found[1].strip() for key in ("model name", "cpu family", "model", "flags") if (found := _field(key, text))}
    features = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in said.get("flags", "").split()]
    model = said.get("model name", platform.processor() or platform.machine())
    numbers = f" (family {said['cpu family']}, model {said['model']})" if {"cpu family", "model"} <= said.keys() else ""
    return " ".join([model + numbers, *features])


def _field(key: str, text: str) -> re.Match[str] | None:
    return re.search(rf"^{key}\s*:(.*)$", text, re.MULTILINE)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
