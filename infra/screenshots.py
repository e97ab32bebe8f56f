"""Pictures of the real UI, by headless Chromium: python -m infra.screenshots http://127.0.0.1:4200 FOLDER [RUN ...].

Without runs: deployments, the form of `pipeline`, a value that it refuses, work pools and automations. With ids of flow runs, of each: its
page with the log, and its artifacts.
"""

from __future__ import annotations

import argparse
import json
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 1280, 900
SETTLED_MS = 2500  # after the network is quiet; charts still move
PAGES = {"deployments": "/deployments", "work-pool": "/work-pools/work-pool/trunkline", "automations": "/automations"}


class Camera:
    """One browser page on one UI; pictures go into a folder."""

    def __init__(self, page: Any, ui: str, folder: Path) -> None:
        self._page, self._ui, self._folder = page, ui.rstrip("/"), folder

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The server's API; POST where there is a body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._ui}/api{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def go(self, path: str) -> None:
        self._page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        self._page.goto(self._ui + path)
        self._page.wait_for_load_state("networkidle")
        self._page.wait_for_timeout(SETTLED_MS)

    def take(self, name: str, whole: bool = False) -> None:
        """What stands in the window, or the whole page."""
        if whole:
            height = self._page.evaluate("Math.max(...[...document.querySelectorAll('*')].map(each => each.scrollHeight))")
            self._page.set_viewport_size({"width": WIDTH, "height": int(height) + 20})
            self._page.wait_for_timeout(SETTLED_MS)
        self._page.screenshot(path=self._folder / f"{name}.png")

    def form(self, deployment: str) -> None:
        found = self.ask(f"/deployments/name/{deployment}/{deployment}")["id"]
        self.go(f"/deployments/deployment/{found}/run")
        self.take(f"form-{deployment}")
        self.take(f"form-{deployment}-whole", whole=True)

    def refused(self, deployment: str) -> None:
        """A dataset's name with a space, sent."""
        found = self.ask(f"/deployments/name/{deployment}/{deployment}")["id"]
        self.go(f"/deployments/deployment/{found}/run")
        for label, value in (("Source", "/images"), ("Store", "/features"), ("Dataset (Optional)", "my images")):
            group = self._page.get_by_text(label, exact=True).locator("xpath=ancestor::*[.//textarea][1]")
            group.locator("textarea").first.fill(value)
        self._page.get_by_role("button", name="Submit").click()
        self._page.wait_for_timeout(SETTLED_MS)
        self.take(f"form-{deployment}-refused")

    def run(self, run: str) -> None:
        """The run's page with its log, and each of its artifacts."""
        said = self.ask(f"/flow_runs/{run}")
        flow = self.ask(f"/flows/{said['flow_id']}")["name"]
        self.go(f"/runs/flow-run/{run}")
        self.take(f"run-{flow}")
        self._page.get_by_text("Artifacts", exact=True).first.click()
        self._page.wait_for_timeout(SETTLED_MS)
        self.take(f"run-{flow}-artifacts")
        for artifact in self.ask("/artifacts/filter", {"flow_runs": {"id": {"any_": [run]}}}):
            self.go(f"/artifacts/artifact/{artifact['id']}")
            self.take(f"run-{flow}-{artifact['key']}", whole=artifact["type"] == "markdown")


@contextmanager
def camera(ui: str, folder: Path) -> Iterator[Camera]:
    """A browser for a while. The machine's own Chromium, or Playwright's where there is none."""
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield Camera(browser.new_page(color_scheme="light"), ui, folder)
        browser.close()


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ui")
    parser.add_argument("folder", type=Path)
    parser.add_argument("runs", nargs="*")
    asked = parser.parse_args()
    with camera(asked.ui, asked.folder) as made:
        for run in asked.runs:
            made.run(run)
        if not asked.runs:
            for name, path in PAGES.items():
                made.go(path)
                made.take(name)
            made.form("pipeline")
            made.refused("pipeline")


if __name__ == "__main__":
    main()
