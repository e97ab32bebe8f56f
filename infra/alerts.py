"""Alerts: an automation that tells somebody of failed runs, with a link to the log. The address is kept in a block on the server alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from infra.automations import OUR_RUNS, put

NAME = "trunkline-alerts"
STATES = ("Failed", "Crashed", "TimedOut")
SUBJECT = "trunkline: {{ flow.name }} {{ flow_run.state.name }}: {{ flow_run.name }}"
BODY = """{{ flow.name }} "{{ flow_run.name }}" is {{ flow_run.state.name }}.

{{ flow_run.state.message }}

Log: {{ flow_run|ui_url }}
"""


def told_to(client: Any, url: str) -> str:
    """Make or update block and automation; without an address the ones that are there stay. Gives what was done, in words.

    Parameters
    ----------
    url : an HTTP address that takes a POST of JSON, Slack's and Teams' webhooks included; or an address as Apprise writes it, such as
        mailtos://user:password@example.org.
    """
    if not url:
        there = client.read_automations_by_name(NAME)
        how = "as they were set before" if there else "none; set TRUNKLINE_ALERT_URL to a webhook, and run this again"
        return f"Alerts: {how}"
    block = block_for(url)
    put(client, _automation(block.save(NAME, overwrite=True)))
    return f"Alerts: {type(block).__name__} at {urlsplit(url).hostname or urlsplit(url).scheme}"


def block_for(url: str) -> Any:
    """The notification block for an address, with the address as a secret of it."""
    from prefect.blocks.notifications import CustomWebhookNotificationBlock, MicrosoftTeamsWebhook, SlackWebhook

    parts = urlsplit(url)
    host = parts.hostname or ""
    if host.endswith("logic.azure.com"):
        return MicrosoftTeamsWebhook(url=url)
    if parts.scheme in ("http", "https") and not host.startswith("hooks.slack"):
        return CustomWebhookNotificationBlock(
            name=NAME,
            url="{{address}}",
            json_data={"subject": "{{subject}}", "text": "{{body}}"},
            secrets={"address": url},
        )
    return SlackWebhook(url=url)  # what is not Slack's it gives to Apprise, which knows mail and a hundred services more


def _automation(block_document_id: Any) -> Any:
    from prefect.events.actions import SendNotification
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

    return AutomationCore(
        name=NAME,
        description="Tells of failed, crashed and timed out runs of trunkline's deployments, with a link to the log.",
        trigger=EventTrigger(
            expect={f"prefect.flow-run.{state}" for state in STATES},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
            **OUR_RUNS,
        ),
        actions=[SendNotification(block_document_id=block_document_id, subject=SUBJECT, body=BODY)],
    )
