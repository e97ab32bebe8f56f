"""A fine-tuning as one HTML page: its curves, its epochs, and how the network with its own head does on the test split."""

from __future__ import annotations

from collections.abc import Sequence

from trunkline.finetuning.history import PHASES, Epoch
from trunkline.metrics import AnyMetrics, Metrics
from trunkline.metrics.names import in_words
from trunkline.report.charts.training import losses_by_epoch, score_by_epoch
from trunkline.report.templates import environment, policy


def render(name: str, history: Sequence[Epoch], best: Epoch, metrics: AnyMetrics | None, classes: Sequence[str]) -> str:
    """One self-contained HTML document without scripts; the same history gives the same text.

    Parameters
    ----------
    name : of the fine-tuned backbone.
    history, best : all epochs, one at least, and the one whose weights were kept.
    metrics : of the test split; None where that has no image.
    classes : their names, in the order of the metrics.
    """
    page = (
        environment()
        .get_template("finetuning.html.j2")
        .render(
            name=name,
            verdict=verdict(best, metrics),
            history=history,
            best=best,
            phases=PHASES,
            score=score_by_epoch(history, best),
            losses=losses_by_epoch(history),
            figures=[(each, in_words(value, each), metrics.intervals.get(each)) for each, value in metrics.figures.items()]
            if metrics
            else [],
            rows=metrics.rows if metrics else 0,
            weakest=_weakest(metrics, classes),
            policy=policy(""),
        )
    )
    return page.lstrip()


def verdict(best: Epoch, metrics: AnyMetrics | None) -> str:
    """What was reached, in one sentence."""
    reached = (
        f"Best epoch: {best.epoch} of training {PHASES[best.phase]}, macro-F1 {best.val_macro_f1:.3f} on the validation images"
    )
    if metrics is None:
        return f"{reached}; there is no test image."
    low, high = metrics.intervals.get("macro_f1", (float("nan"), float("nan")))
    return f"{reached}, {metrics.headline[1]:.3f} ({low:.3f}–{high:.3f}) on {metrics.rows:,} test images."


def _weakest(metrics: AnyMetrics | None, classes: Sequence[str]) -> list[tuple[str, float, int]]:
    """(class, F1, test images) of those that have test images, the weakest first."""
    if not isinstance(metrics, Metrics) or len(metrics.f1) != len(classes):
        return []
    found = zip(classes, (float(value) for value in metrics.f1), (int(count) for count in metrics.support), strict=True)
    return sorted((each for each in found if each[2]), key=lambda each: (each[1], each[0]))
