"""A look as one picture: the prepared image with its evidence on the left, layer by layer its activation maps beside it."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.looking.activations import Activations

WIDTH, HEIGHT, DPI = 16.0, 9.0, 100  # 1,600 x 900 pixels: a screen
CHANNELS = 8
INK, SOFT, PAPER = "#1b2026", "#5d6570", "#fbfaf7"


@dataclass(frozen=True)
class Overlay:
    """An image with heat over it, and the words above it."""

    title: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Look:
    """What is drawn: texts, the prepared image (size, size, 3), overlays of evidence, and the layers in order of depth."""

    title: str
    subtitle: str
    pixels: NDArray[Any]
    overlays: Sequence[Overlay]
    evidence: str
    layers: Sequence[Activations]


def strongest(maps: NDArray[np.float32], count: int = CHANNELS) -> list[int]:
    """Numbers of the channels that differ most over the image, by their standard deviation, the greatest first."""
    return [int(each) for each in np.argsort(-maps.std(axis=(0, 1), dtype=np.float64), kind="stable")[:count]]


def draw(look: Look) -> bytes:
    """A PNG of 1,600 x 900 pixels."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"font.size": 10}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # an empty square stands for it
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor=PAPER)
        figure.text(0.015, 0.965, _short(look.title, 90), fontsize=17, weight="bold", color=INK, va="center", parse_math=False)
        figure.text(0.015, 0.928, _short(look.subtitle, 180), fontsize=10.5, color=SOFT, va="center", parse_math=False)
        widths = (1, 5) if look.overlays else (1, 3.6)
        grid = figure.add_gridspec(1, 2, width_ratios=widths, left=0.015, right=0.99, top=0.885, bottom=0.05, wspace=0.05)
        _draw_image(figure, grid[0], look)
        _draw_layers(figure, grid[1], look.layers)
        out = io.BytesIO()
        FigureCanvasAgg(figure).print_png(out, metadata={"Software": None})
    return out.getvalue()


def _draw_image(figure: Any, place: Any, look: Look) -> None:
    shown = [Overlay("what the network sees", np.asarray(look.pixels).round().astype(np.uint8)), *look.overlays][:3]
    rows = place.subgridspec(len(shown), 1, hspace=0.22)
    for number, overlay in enumerate(shown):
        axes = figure.add_subplot(rows[number])
        axes.imshow(overlay.pixels, interpolation="nearest")
        axes.set_title(_short(overlay.title, 44), fontsize=10, color=INK, loc="left", pad=4, parse_math=False)
        axes.set_anchor("NW")
        axes.set_axis_off()
    how = "Layers: the mean over all channels, then those that differ most over the image, each map on its own scale."
    words = f"{look.evidence}   {how}" if look.evidence else how
    figure.text(0.015, 0.022, words, fontsize=8.5, color=SOFT, va="center", parse_math=False)


def _draw_layers(figure: Any, place: Any, layers: Sequence[Activations]) -> None:
    rows = place.subgridspec(len(layers), CHANNELS + 2, hspace=0.3, wspace=0.06, width_ratios=(1.25, *[1] * (CHANNELS + 1)))
    for row, layer in enumerate(layers):
        height, width, channels = layer.maps.shape
        words = figure.add_subplot(rows[row, 0])
        words.set_axis_off()
        name = "\n".join(textwrap.wrap(layer.layer, 20)[:3])
        words.text(
            0, 0.5, f"{name}\n{height} x {width}\n{channels:,} channels", va="center", color=INK, fontsize=9.5, parse_math=False
        )
        _tile(figure.add_subplot(rows[row, 1]), layer.maps.mean(axis=2), "mean", "viridis")
        for column, channel in enumerate(strongest(layer.maps), 2):
            _tile(figure.add_subplot(rows[row, column]), layer.maps[:, :, channel], f"#{channel}", "inferno")


def _tile(axes: Any, values: NDArray[np.float32], title: str, colours: str) -> None:
    axes.imshow(values, cmap=colours, interpolation="nearest")
    axes.set_title(title, fontsize=8.5, color=SOFT, pad=2.5)
    axes.set_axis_off()


def _short(text: str, most: int) -> str:
    plain = "".join(each if each.isprintable() else "�" for each in text)
    return plain if len(plain) <= most else plain[: most // 2] + "…" + plain[-(most // 2 - 1) :]
