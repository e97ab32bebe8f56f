"""A comparison of backbones as one HTML page."""

from __future__ import annotations

from trunkline.probing.choice import Choice
from trunkline.probing.probe import FOLDS
from trunkline.probing.ranking import front
from trunkline.report import charts
from trunkline.report.charts.canvas import SERIES
from trunkline.report.charts.pareto import entries_in
from trunkline.report.templates import environment, policy


def render(choice: Choice) -> str:
    """Lay a comparison out as one self-contained HTML document without scripts; the same comparison gives the same text."""
    page = (
        environment()
        .get_template("choice.html.j2")
        .render(
            choice=choice,
            plot=charts.pareto(choice.cuts),
            worth=front(choice.cuts),
            hues={entry: f"c{number % len(SERIES)}" for number, entry in enumerate(entries_in(choice.cuts))},
            folds=FOLDS,
            policy=policy(""),
        )
    )
    return page.lstrip()
