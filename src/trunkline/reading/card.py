"""What a notebook shows of a feature set: a small HTML card without scripts or links, readable on light and dark pages."""

from __future__ import annotations

import html as library
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import numpy as np

from trunkline.reading.snapshot import OK, PENDING, QUARANTINED, REMOVED, Snapshot
from trunkline.store.feature_set import FeatureSet

MOST_NAMES = 12
# controls, which browsers drop, and marks that turn the direction of writing
STRANGE = {code: f"\\x{code:02x}" for code in (*range(32), 0x7F)}
STRANGE |= {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000))}
# colours come from the page; lines and shades are transparent grey, so that they suit light and dark ones
CARD = (
    "max-width:46em;padding:.8em 1em;border:1px solid rgba(128,128,128,.45);border-radius:.5em;font-family:system-ui,sans-serif"
)
NAME = "text-align:left;font-weight:normal;opacity:.7;padding:.15em 1.2em .15em 0;vertical-align:top;white-space:nowrap"
VALUE = "text-align:left;padding:.15em 0;overflow-wrap:anywhere"
CODE = (
    "margin:.7em 0 0;padding:.5em .7em;border-radius:.3em;background:rgba(128,128,128,.14);color:inherit;white-space:pre-wrap;"
    "overflow-wrap:anywhere"
)


def html(snapshot: Snapshot, features: FeatureSet, dataset: str, batch: int | None) -> str:
    """The card; every text is escaped."""
    lines = "".join(
        f'<tr style="background:none"><th scope="row" style="{NAME}">{_text(name)}</th><td style="{VALUE}">{_text(value)}</td></tr>'
        for name, value in _lines(snapshot, features, batch)
    )
    called = json.dumps(features.location.uri, ensure_ascii=False) + ("" if batch is None else f", batch={batch}")
    code = f'features = open_features({called})\nX, y = features.numpy("train")'
    if not any(name == "train" for name in snapshot.codes("split")[1]):
        code = code.replace('"train"', "")
    return (
        f'<div style="{CARD}"><div style="font-weight:600">{_text(dataset)} · {_text(features.recipe.backbone)}</div>'
        f'<table style="border-collapse:collapse;margin:.5em 0 0;color:inherit;background:none">{lines}</table>'
        f'<pre style="{CODE}">{_text(code)}</pre></div>'
    )


def _lines(snapshot: Snapshot, features: FeatureSet, batch: int | None) -> Iterator[tuple[str, str]]:
    """Names and values, top to bottom."""
    layout = features.layout
    counts = np.bincount(snapshot.statuses(), minlength=REMOVED + 1)
    shapes = (f"{layer} ({' × '.join(map(str, layout.shape(layer)))})" for layer in layout.dims)
    yield "layers", f"{', '.join(shapes)}; {layout.dtype}"
    yield (
        "images",
        f"{counts[OK]:,} ok, {counts[QUARANTINED]:,} quarantined, {counts[PENDING]:,} pending, {counts[REMOVED]:,} removed",
    )
    yield "size", _bytes(int(counts[OK]) * sum(layout.dims.values()) * np.dtype(layout.dtype).itemsize) + " in memory"
    for what, name in (("split", "splits"), ("label", "classes")):
        codes, names = snapshot.codes(what)
        used = codes[snapshot.statuses() == OK]
        yield name, _counted(names, np.bincount(used[used >= 0], minlength=len(names)).tolist())
    if batch is not None:
        yield "as of", f"batch {batch}; labels and splits of now"
    last = snapshot.last_committed
    yield "last committed", datetime.fromtimestamp(last, UTC).strftime("%Y-%m-%d %H:%M UTC") if last else "nothing yet"


def _counted(names: tuple[str, ...], counts: Iterable[int]) -> str:
    each = [f"{name} ({count:,})" for name, count in zip(names, counts, strict=True)]
    if len(each) > MOST_NAMES:
        return f"{len(each):,}: {', '.join(each[:MOST_NAMES])} …"
    return ", ".join(each) or "none"


def _bytes(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"


def _text(value: str) -> str:
    return library.escape(value.translate(STRANGE | {10: "\n"}))
