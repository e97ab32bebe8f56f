"""What the server does by itself about runs of our deployments: alerts, and the end of silent runs."""

from __future__ import annotations

from typing import Any

OUR_RUNS: dict[str, Any] = {
    "match": {"prefect.resource.id": "prefect.flow-run.*"},
    "match_related": {"prefect.resource.id": "prefect.tag.trunkline", "prefect.resource.role": "tag"},
    "for_each": {"prefect.resource.id"},
}


def put(client: Any, automation: Any) -> None:
    """Make the automation, or bring the one of its name to what is said here."""
    there = client.read_automations_by_name(automation.name)
    if there:
        client.update_automation(there[0].id, automation)
    else:
        client.create_automation(automation)
