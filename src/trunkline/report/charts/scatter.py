"""Truth against prediction of a number, as a 2-D histogram."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from trunkline.metrics import Grid
from trunkline.report.charts.canvas import INK, drawing, inline, style
from trunkline.report.charts.confusion import RIGHT_RGB


def truth_against_prediction(grid: Grid) -> Markup | None:
    """Darker where more rows are, with the line on which all would lie; None where there is nothing or no extent."""
    if not grid.counts.any() or not grid.high > grid.low:
        return None
    rgba = np.zeros((*grid.counts.shape, 4))
    rgba[..., :3] = np.array(RIGHT_RGB) / 255
    strength = np.sqrt(grid.counts / grid.counts.max())
    rgba[..., 3] = np.where(grid.counts > 0, 0.15 + 0.85 * strength, 0)
    extent = (grid.low, grid.high, grid.low, grid.high)
    with drawing(5.2, 4.8) as (figure, axes):
        axes.imshow(rgba.transpose(1, 0, 2), origin="lower", extent=extent, interpolation="nearest", zorder=2)
        axes.plot(extent[:2], extent[2:], color=INK, linewidth=1.2, linestyle=(0, (4, 3)), zorder=3)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=6))
        style(axes, "truth", "prediction", grid="both")
    return inline(figure, "scatter", f"2-D histogram of {int(grid.counts.sum()):,} predictions against the truth")
