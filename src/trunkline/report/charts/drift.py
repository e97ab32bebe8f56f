"""How far each batch is from the first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import FixedLocator, MaxNLocator

from trunkline.drift import BatchDrift
from trunkline.report.charts.canvas import KEPT, LIMIT, drawing, inline, style

MOST_TICKS = 12


def drift_bars(batches: Sequence[BatchDrift], threshold: float | None) -> Markup | None:
    """A bar a batch, those that were warned of in the colour of warnings, and a line at the threshold; None without a finite value."""
    batches = [batch for batch in batches if np.isfinite(batch.overall)]
    if not batches:
        return None
    with drawing(6.4, 2.6) as (figure, axes):
        for warned, colour in ((False, KEPT), (True, LIMIT)):
            some = [batch for batch in batches if batch.warned == warned]
            axes.bar([batch.batch for batch in some], [batch.overall for batch in some], 0.7, color=colour)
        if threshold is not None:
            axes.axhline(threshold, color=LIMIT, linewidth=1.6, linestyle=(0, (4, 3)))
        numbers = [batch.batch for batch in batches]
        axes.set_xlim(min(numbers) - 0.8, max(max(numbers), min(numbers) + 5) + 0.8)
        axes.set_ylim(0, 1.12 * max([batch.overall for batch in batches] + ([threshold] if threshold else []) + [1e-9]))
        axes.xaxis.set_major_locator(FixedLocator(numbers[:: -(-len(numbers) // MOST_TICKS)]))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
        style(axes, "batch", "drift")
    return inline(
        figure, "drift", f"Drift of {len(batches)} batches, {sum(batch.warned for batch in batches)} of them warned of"
    )
