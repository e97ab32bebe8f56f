"""Pictures of the Prefect UI for docs/operations.md, taken with headless Chromium on a stack whose runs have ended.

python -m infra.screenshots OUT      needs PREFECT_API_URL, the deployments, and a run of `pipeline` and of `backfill`
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
SIZE = {"width": 1280, "height": 860}
SETTLED_MS = 1500  # after the last request: cards fade in


def main() -> None:
    """Take all pictures; exits with what is missing."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/ui")
    api = os.environ.get("PREFECT_API_URL") or sys.exit("PREFECT_API_URL is not set: source the environment of a stack first.")
    out.mkdir(parents=True, exist_ok=True)
    with _page(api.removesuffix("/api")) as page:
        for name, place in places(api).items():
            page.goto(place)
            page.wait_for_load_state("networkidle")
            page.wait_for_timeout(SETTLED_MS)
            page.screenshot(path=str(out / f"{name}.png"))
            sys.stderr.write(f"{out / name}.png\n")


def places(api: str) -> dict[str, str]:
    """Picture → page of the UI."""
    run = _latest(api, "pipeline")
    found = {
        "deployments": "/deployments",
        "form": f"/deployments/deployment/{_deployment(api, 'pipeline')}/run",
        "run": f"/runs/flow-run/{run}",
        "artifacts": f"/runs/flow-run/{run}?tab=Artifacts",
    }
    for key in ("summary", "heads", "quarantine", "confusion"):
        artifact = _artifact(api, run, key)
        if artifact:
            found[key] = f"/artifacts/artifact/{artifact}"
    slices = _latest(api, "backfill")
    return found | {
        "backfill": f"/runs/flow-run/{slices}?tab=Subflow%20Runs",
        "pool": "/work-pools/work-pool/trunkline?tab=Work%20Queues",
    }


@contextmanager
def _page(url: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page(base_url=url, viewport=SIZE)
        browser.close()


def _deployment(api: str, name: str) -> str:
    return str(_asked(httpx.get(f"{api}/deployments/name/{name}/{name}", timeout=30))["id"])


def _latest(api: str, deployment: str) -> str:
    criteria = {"deployments": {"name": {"any_": [deployment]}}, "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    found = _asked(httpx.post(f"{api}/flow_runs/filter", json={**criteria, "sort": "START_TIME_ASC"}, timeout=30))
    return str(found[0]["id"]) if found else sys.exit(f"No run of {deployment} has completed; start one first.")


def _artifact(api: str, run: str, start: str) -> str | None:
    found = _asked(httpx.post(f"{api}/artifacts/filter", json={"artifacts": {"flow_run_id": {"any_": [run]}}}, timeout=30))
    return next((str(each["id"]) for each in found if (each["key"] or "").startswith(start)), None)


def _asked(answer: httpx.Response) -> Any:
    answer.raise_for_status()
    return answer.json()


if __name__ == "__main__":
    main()
