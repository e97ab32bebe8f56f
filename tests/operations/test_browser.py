"""The Prefect UI in a real browser: the form is filled in and submitted, and the run is seen to complete."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.operations.conftest import Deployed, Place
from tests.operations.server import until

CHROMIUM = "/usr/bin/chromium"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="Chromium is not installed")]
PATIENCE_MS = 180_000


@pytest.fixture
def page(deployed: Deployed) -> Iterator[Page]:
    """A page of the stack's UI."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        opened = browser.new_page(base_url=deployed.server.url.removesuffix("/api"), viewport={"width": 1400, "height": 1000})
        opened.set_default_timeout(60_000)
        yield opened
        browser.close()
