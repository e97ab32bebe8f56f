"""How the page writes figures and foreign text."""

from __future__ import annotations

import base64
import math
from typing import Any

from markupsafe import Markup

from trunkline.metrics import names
from trunkline.wording import in_bytes

CONTROLS = {code: chr(0x2400 + code) for code in range(32)} | {0x7F: "␡"}
DIRECTIONS = {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def printable(value: Any) -> Any:
    """Make control characters and changes of direction visible, and file names that are not UTF-8 writable."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return value.encode("utf-8", "backslashreplace").decode("utf-8").translate(CONTROLS | DIRECTIONS)


def count(number: int) -> str:
    return f"{int(number):,}"


def score(value: float | None) -> str:
    """Of something between 0 and 1, or near."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.3f}"


def rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.1f}"


def share(part: float, whole: float) -> str:
    """A percentage that never rounds something to nothing, nor almost all to all."""
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 0.1:
        return "<0.1%"
    if 99.9 < percent < 100:
        return ">99.9%"
    return f"{percent:.1f}%" if 0 < percent < 1 or 99 < percent < 100 else f"{percent:.0f}%"


def encoded(picture: bytes) -> str:
    return base64.b64encode(picture).decode("ascii")


def jpeg(picture: bytes) -> str:
    return "data:image/jpeg;base64," + encoded(picture)


FILTERS = {
    "count": count,
    "score": score,
    "figure": names.in_words,
    "rate": rate,
    "share": share,
    "size": in_bytes,
    "encoded": encoded,
    "jpeg": jpeg,
}
