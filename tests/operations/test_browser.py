"""The Prefect UI in a real browser: the form is filled in and submitted, and the run is seen to complete."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from tests.operations.conftest import Deployed, Place
from tests.operations.server import Server, until

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


def test_the_form_is_filled_in_submitted_and_seen_to_complete(in_stack: Deployed, place: Place, page: Page) -> None:
    server = in_stack.server
    open_form(page, server)
    expect(page.get_by_text("folder of images, glob, table of URIs")).to_be_visible(timeout=30_000)
    field(page, "Source").fill(place.source.uri)
    field(page, "Store").fill(place.store.uri)
    before = {run["id"] for run in server.runs_of("pipeline")}
    page.get_by_role("button", name="Submit").click()
    fresh = until(
        lambda: [run["id"] for run in server.runs_of("pipeline") if run["id"] not in before], bool, "the run that was submitted"
    )
    page.goto(f"/runs/flow-run/{fresh[0]}")
    expect(page.get_by_text("Completed", exact=True).first).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_text("300 extracted of 300 images").first).to_be_visible(timeout=30_000)
    page.get_by_text("Artifacts", exact=True).first.click()
    expect(page.get_by_text("Heads on the test split").first).to_be_visible(timeout=30_000)


def test_a_wrong_value_is_refused_in_the_form(in_stack: Deployed, page: Page) -> None:
    server = in_stack.server
    before = len(server.runs_of("pipeline"))
    open_form(page, server)
    field(page, "Source").fill("s3://trunkline/nowhere")
    field(page, "Store").fill("s3://trunkline/nowhere-store")
    field(page, "Dataset (Optional)").fill("no spaces, please")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("does not match").first).to_be_visible(timeout=30_000)
    assert len(server.runs_of("pipeline")) == before


def open_form(page: Page, server: Server) -> None:
    """The form of `pipeline`, once it holds its defaults: what is filled in before is lost."""
    page.goto(f"/deployments/deployment/{server.deployment('pipeline')['id']}/run")
    expect(field(page, "Store")).to_have_value(re.compile("^s3://"), timeout=PATIENCE_MS)


def field(page: Page, title: str) -> Locator:
    """The text field under a title of the form."""
    return page.locator("*", has_text=re.compile(f"^{re.escape(title)}$")).locator("xpath=following::textarea[1]").first
