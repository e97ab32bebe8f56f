"""No secrets in logs: passwords and signatures of URLs, and whatever the environment holds under a secret's name."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping

from trunkline.sources.secrets import has_secret, without_secret

HIDDEN = "***"
SHORTEST = 8  # what is shorter may be a word of any message

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>|]+")
_SECRET_NAME = re.compile(r"SECRET|TOKEN|PASSWORD|PASSWD|API_KEY|ACCESS_KEY$|AUTH_STRING|CREDENTIAL")
_HEADER = re.compile(r"(?i)\b(authorization\b['\"]?\s*[:=]\s*['\"]?(?:(?:basic|bearer)\s+)?)[^\s'\",]+")


def redacted(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """The text without secrets: URLs lose user and query where these hold one, values of secret variables become `***`."""
    text = _URL.sub(lambda found: _shown(found[0]), text)
    text = _HEADER.sub(rf"\1{HIDDEN}", text)
    for name, value in environment.items():
        if len(value) >= SHORTEST and value in text and _SECRET_NAME.search(name.upper()):
            text = text.replace(value, HIDDEN)
    return text


def redact(record: logging.LogRecord, formatter: logging.Formatter) -> None:
    """Make message and traceback of a record final, and free of secrets."""
    record.msg, record.args = redacted(record.getMessage()), None
    if record.exc_info and not record.exc_text:
        record.exc_text = formatter.formatException(record.exc_info)
    record.exc_info = None  # or the formatter that comes next would write the traceback anew
    record.exc_text = redacted(record.exc_text) if record.exc_text else None
    record.stack_info = redacted(record.stack_info) if record.stack_info else None


def _shown(url: str) -> str:
    return without_secret(url) if has_secret(url) else url
