"""The course of a fine-tuning: validation macro-F1 and losses by epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from trunkline.finetuning.history import Epoch
from trunkline.report.charts.canvas import DROPPED, INK, KEPT, LIMIT, RULE, drawing, inline, style


def score_by_epoch(history: Sequence[Epoch], best: Epoch) -> Markup:
    """Macro-F1 on the validation images, the best epoch marked; a line parts the new head from the unfrozen layers."""
    scores = np.array([each.val_macro_f1 for each in history])
    place = history.index(best)
    with drawing() as (figure, axes):
        _part(axes, history)
        axes.plot(np.arange(1, len(scores) + 1), scores, "-o", color=KEPT, linewidth=2, markersize=4)
        axes.plot(place + 1, scores[place], "o", color=LIMIT, markersize=10)
        style(axes, "epoch", "macro-F1")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        margin = max(0.12 * float(np.ptp(scores)), 0.02)
        axes.set_ylim(scores.min() - margin, min(scores.max() + margin, 1.01))
    return inline(figure, "score", f"macro-F1 on the validation images in {len(scores)} epochs, best {scores[place]:.3f}")


def losses_by_epoch(history: Sequence[Epoch]) -> Markup:
    """Loss of the training steps and on the validation images."""
    epochs = np.arange(1, len(history) + 1)
    with drawing() as (figure, axes):
        _part(axes, history)
        axes.plot(epochs, [each.loss for each in history], "-o", color=DROPPED, linewidth=2, markersize=4, label="training")
        axes.plot(epochs, [each.val_loss for each in history], "-o", color=KEPT, linewidth=2, markersize=4, label="validation")
        style(axes, "epoch", "loss")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes.legend(frameon=False, labelcolor=INK)
    return inline(figure, "loss", f"loss in {len(history)} epochs")


def _part(axes: Axes, history: Sequence[Epoch]) -> None:
    heads = sum(each.phase == "head" for each in history)
    if 0 < heads < len(history):
        axes.axvline(heads + 0.5, color=RULE, linewidth=1.2)
        transform = axes.get_xaxis_transform()
        axes.text(heads + 0.3, 1.02, "new head", ha="right", color=INK, transform=transform)
        axes.text(heads + 0.7, 1.02, "last layers too", ha="left", color=INK, transform=transform)
