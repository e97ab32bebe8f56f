"""The memory of this machine and of this process, as the kernel tells it; None where it does not."""

from __future__ import annotations

from pathlib import Path

MEMINFO, STATUS = Path("/proc/meminfo"), Path("/proc/self/status")
# a container's limit, what it uses, and where it says how much of that is cache; as it sees itself, in both of the kernel's versions
CGROUPS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)
CGROUP_ROOT = Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Bytes that new processes can take without swapping: what is free or can be freed, within the container's limit."""
    known = [_kilobytes(MEMINFO, "MemAvailable"), *(_left(*(CGROUP_ROOT / name for name in names)) for names in CGROUPS)]
    return min((each for each in known if each is not None), default=None)


def resident_memory() -> int | None:
    """Bytes of memory that this process holds now."""
    return _kilobytes(STATUS, "VmRSS")


def peak_memory() -> int | None:
    """The most bytes that this process ever held."""
    return _kilobytes(STATUS, "VmHWM")


def _kilobytes(path: Path, key: str) -> int | None:
    try:
        lines = path.read_text().splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), None)
    except (OSError, ValueError, IndexError):
        return None


def _left(most: Path, used: Path, statistics: Path) -> int | None:
    try:
        limit, now = int(most.read_text()), int(used.read_text())
        said = dict(line.split() for line in statistics.read_text().splitlines())
        return max(0, limit - now + int(said.get("total_inactive_file", said.get("inactive_file", 0))))
    except (OSError, ValueError):  # no container, or one without a limit, which says "max"
        return None
