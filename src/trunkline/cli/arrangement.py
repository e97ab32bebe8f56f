"""The order in which `trunkline --help` shows the commands: what a newcomer needs first, what erases last."""

from __future__ import annotations

import typer

PANELS = {
    "From images to features": ("init", "choose", "plan", "run"),
    "The stages of a run": ("scan", "extract", "backfill", "select", "fit", "report"),
    "Adapting a backbone": ("finetune",),
    "Looking": ("status", "compare", "look", "similar", "quarantine", "audit", "backbones"),
    "Using what was fitted": ("predict", "export"),
    "Looking after a store": ("verify", "retry-quarantine", "unlock", "gc", "purge"),
    "Watching": ("metrics",),
}


def arrange(app: typer.Typer) -> None:
    """Give each command its panel and its place. Raises KeyError for a command without one."""
    places = {name: (place, panel) for panel, names in PANELS.items() for place, name in enumerate(names)}
    panels = list(PANELS)
    named = {command.name or getattr(command.callback, "__name__", ""): command for command in app.registered_commands}
    for name, command in named.items():
        command.rich_help_panel = places[name][1]
    order = sorted(named, key=lambda name: (panels.index(places[name][1]), places[name][0]))
    app.registered_commands[:] = [named[name] for name in order]
