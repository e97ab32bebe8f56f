"""Which notification block an address becomes; the address itself stays a secret."""

from __future__ import annotations

import pytest

from infra.alerts import block_for

TEAMS = (
    "https://prod-1.westus.logic.azure.com:443/workflows/0123456789abcdef0123456789abcdef/triggers/manual/paths/invoke"
    "?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=SECRET"
)


@pytest.mark.filterwarnings("ignore:.imghdr. is deprecated:DeprecationWarning")  # in Apprise, as it is imported
@pytest.mark.parametrize(
    ("url", "block"),
    [
        ("https://alerts.example.org/hook?token=SECRET", "CustomWebhookNotificationBlock"),
        ("https://hooks.slack.com/services/T00/B00/SECRET", "SlackWebhook"),
        ("mailtos://user:SECRET@example.org", "SlackWebhook"),
        (TEAMS, "MicrosoftTeamsWebhook"),
    ],
)
def test_an_address_becomes_a_block_that_keeps_it(url: str, block: str) -> None:
    made = block_for(url)
    assert type(made).__name__ == block
    assert "SECRET" not in repr(made)
    assert "SECRET" not in made.model_dump_json()
