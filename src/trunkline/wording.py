"""Figures in words that people read."""

from __future__ import annotations


def counted(count: int, noun: str, several: str = "") -> str:
    """A count and what it counts: `1 object`, `2,000 objects`; `several` for nouns that take more than an s."""
    return f"{count:,} {noun if count == 1 else several or noun + 's'}"


def in_bytes(count: float) -> str:
    """Bytes in a unit that people read."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def in_time(seconds: float) -> str:
    """Seconds as people say them: two units at most."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
