"""Where a browser finds a report, and that it shows it."""

from __future__ import annotations

import urllib.request

import pytest

from trunkline.locations import Location
from trunkline.report.address import address_of

REPORT = "runs/20261126T010203Z-ab12/report.html"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRUNKLINE_REPORTS_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)


def test_nothing_is_said_where_nothing_is_served() -> None:
    assert address_of(Location(f"/store/{REPORT}")) is None
    assert address_of(Location(f"s3://bucket/store/{REPORT}")) is None


@pytest.mark.parametrize("place", ["s3://bucket/a store", "/bucket/a store"])
def test_a_store_is_served_under_its_path(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_REPORTS_URL", "https://reports.example.org/base/")
    assert address_of(Location(f"{place}/{REPORT}")) == f"https://reports.example.org/base/bucket/a%20store/{REPORT}"


@pytest.mark.parametrize("served", ["https://user:secret@example.org", "ftp://example.org", "example.org"])
def test_no_secret_and_no_other_scheme_becomes_a_link(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_REPORTS_URL", served)
    assert address_of(Location(f"/store/{REPORT}")) is None


def test_a_local_store_is_not_at_the_buckets_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert address_of(Location(f"/store/{REPORT}")) is None


def test_a_bucket_serves_a_page_as_a_page(bucket: Location, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    place = bucket / REPORT
    place.write(b"<!doctype html>", "text/html; charset=utf-8")
    address = address_of(place)
    assert address is not None
    assert address.startswith("http://127.0.0.1:")
    request = urllib.request.Request(address, headers={"Authorization": "AWS4-HMAC-SHA256 Credential=testing/x/x/s3/x"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.read() == b"<!doctype html>"
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
