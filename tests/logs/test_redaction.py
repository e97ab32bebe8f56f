"""Secrets never reach a log, and everything else does."""

from __future__ import annotations

import logging

import pytest

from trunkline.logs.redaction import redact, redacted

KEY = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
ENVIRONMENT = {"AWS_SECRET_ACCESS_KEY": KEY, "PREFECT_API_KEY": "pnu_1234567890", "HOME": "/home/somebody", "MY_TOKEN": "short"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at https://ann:pa55@host/x.jpg now", "at https://host/x.jpg now"),
        ("postgresql+asyncpg://prefect:secret@127.0.0.1:5432/db refused", "postgresql+asyncpg://127.0.0.1:5432/db refused"),
        ("'s3://b/k.jpg?X-Amz-Signature=abc&X-Amz-Expires=9'", "'s3://b/k.jpg'"),
        (f"key {KEY}, key {KEY}", "key ***, key ***"),
        ("{'Authorization': 'Bearer eyJhbGciOi'}", "{'Authorization': 'Bearer ***'}"),
        ("Authorization: Basic dXNlcjpw", "Authorization: Basic ***"),
        ("used pnu_1234567890", "used ***"),
    ],
)
def test_secrets_are_left_out(text: str, shown: str) -> None:
    assert redacted(text, ENVIRONMENT) == shown


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/photos/a@b.jpg?versionId=3 is gone",
        "tcp://127.0.0.1:8786 does not answer, see http://127.0.0.1:4200/runs/flow-run/1",
        "/home/somebody/photos has 3 images; a short cut",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text, ENVIRONMENT) == text


def test_values_and_tracebacks_are_redacted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    try:
        raise OSError(f"denied with {KEY}")
    except OSError as error:
        record = logging.LogRecord(
            "t", logging.ERROR, "/t.py", 1, "Could not read %s", ("ftp://u:p@h/x",), (OSError, error, error.__traceback__)
        )
    redact(record, logging.Formatter())
    assert record.getMessage() == "Could not read ftp://h/x"
    assert record.exc_text.endswith("OSError: denied with ***")
    assert record.exc_info is None
