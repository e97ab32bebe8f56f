"""Where a browser finds a report: an HTTP address of an object, without any secret in it."""

from __future__ import annotations

import os
from urllib.parse import quote, urlsplit

from trunkline.locations import Location

SERVED_AT = "TRUNKLINE_REPORTS_URL"
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def address_of(place: Location) -> str | None:
    """The HTTP address of an object, None where none is known; it is not signed, so the server decides who may read.

    TRUNKLINE_REPORTS_URL says under which address stores are served: `s3://bucket/key` lies at `<address>/bucket/key` and `/folder/file`
    at `<address>/folder/file`. Without it objects of `s3://` are at their endpoint, where the environment names one.
    """
    served = os.environ.get(SERVED_AT, "")
    if not served and place.scheme in ("s3", "s3a"):
        served = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), "")
    parts = urlsplit(served)
    if parts.scheme not in ("http", "https") or "@" in parts.netloc:
        return None
    path = place.uri.split("://", 1)[-1].lstrip("/")
    return f"{served.rstrip('/')}/{quote(path)}"
