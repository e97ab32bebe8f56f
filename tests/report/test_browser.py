"""The page in a real browser: it fits a phone, the map shows images, and nothing else runs."""

from __future__ import annotations

import html
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.report import examples
from tests.report.test_page import EXAMPLES
from trunkline.report import page
from trunkline.report.data import ReportData

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM.exists(), reason="Chromium is not installed")]
POINT = """
const at = (hit) => {
  const box = d.querySelector(".cloud").getBoundingClientRect(), scale = box.width / d.querySelector(".cloud").viewBox.baseVal.width;
  return { clientX: box.left + hit.getAttribute("cx") * scale, clientY: box.top + hit.getAttribute("cy") * scale, bubbles: true };
};
"""


def asked(text: str, script: str, folder: Path) -> Any:
    """What a script finds out about the page, laid out in a frame 390 pixels wide; `d` is its document, `answer` takes the answer."""
    wrapper = folder / "wrapper.html"
    asking = (
        "const d = frames[0].document, answer = (found) => { document.body.textContent = 'ANSWER:' + JSON.stringify(found) };"
    )
    frame = f'<iframe srcdoc="{html.escape(text)}" style="border: 0; width: 390px; height: 800px"></iframe>'
    wrapper.write_text(f'<meta charset="utf-8"><body onload="{html.escape(asking + script)}">{frame}</body>', encoding="utf-8")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --virtual-time-budget=5000 --dump-dom"
    )
    command = [str(CHROMIUM), *flags.split(), f"--user-data-dir={folder / 'profile'}", wrapper.as_uri()]
    dump = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r".*ANSWER:(.*)</body>", dump, re.DOTALL)
    assert found, dump[:2000]
    return json.loads(html.unescape(found[1]))


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_phone_need_not_scroll_sideways(example: Callable[[], ReportData], tmp_path: Path):
    measure = "const e = d.documentElement; answer([e.clientWidth, e.scrollWidth])"
    client, scroll = asked(page.render(example()), measure, tmp_path)
    assert 370 <= client <= 390
    assert scroll <= client


def test_pointing_at_a_dot_shows_its_image_and_leaving_hides_it(tmp_path: Path):
    script = """
const svg = d.querySelector(".cloud"), peek = d.querySelector(".peek"), image = peek.querySelector("img"), found = {};
const hit = d.querySelectorAll(".hit")[7];
found.hint = d.querySelector(".hint").hidden;
found.before = peek.hidden;
svg.dispatchEvent(new frames[0].PointerEvent("pointermove", at(hit)));
found.shown = !peek.hidden;
found.same = image.src === "data:image/jpeg;base64," + hit.dataset.jpeg;
found.words = peek.textContent;
found.box = [peek.getBoundingClientRect().left, peek.getBoundingClientRect().right];
image.decode().then(() => {
  found.size = image.naturalWidth;
  svg.dispatchEvent(new frames[0].PointerEvent("pointerleave"));
  found.after = peek.hidden;
  answer(found);
});
"""
    found = asked(page.render(examples.everything()), POINT + script, tmp_path)
    assert (found["hint"], found["before"], found["shown"], found["same"], found["after"]) == (False, True, True, True, True)
    assert found["size"] == 48
    assert re.fullmatch(r"0 · digits/0/\d{4}\.jpg", found["words"])
    assert 0 <= found["box"][0] < found["box"][1] <= 390


def test_the_keyboard_steps_from_dot_to_dot(tmp_path: Path):
    script = """
const svg = d.querySelector(".cloud"), peek = d.querySelector(".peek"), found = [svg.tabIndex];
const press = (key) => { svg.dispatchEvent(new frames[0].KeyboardEvent("keydown", { key })); found.push(peek.hidden || peek.textContent); };
for (const key of ["ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft", "Escape"]) press(key);
answer(found);
"""
    found = asked(page.render(examples.everything()), script, tmp_path)
    assert found[0] == 0
    assert found[1] == found[3] != found[2]
    assert found[4].startswith("9 · "), "from the first to the last"
    assert found[5] is True


def test_a_touch_shows_the_nearest_image(tmp_path: Path):
    script = """
const touch = { ...at(d.querySelectorAll(".hit")[3]), pointerType: "touch" };
d.querySelector(".cloud").dispatchEvent(new frames[0].PointerEvent("pointerdown", touch));
answer(d.querySelector(".peek").hidden);
"""
    assert asked(page.render(examples.everything()), POINT + script, tmp_path) is False


def test_without_scripts_the_page_promises_nothing(tmp_path: Path):
    """The same page, whose script the browser refuses as it is not the one that the policy names."""
    text = page.render(examples.everything()).replace("(() => {", "(() => { /* changed */", 1)
    script = (
        "answer([d.querySelector('.hint').hidden, d.querySelector('.peek').hidden, d.querySelectorAll('.hit title').length])"
    )
    assert asked(text, script, tmp_path) == [True, True, 325]


def test_a_script_that_got_in_would_not_run(tmp_path: Path):
    text = page.render(replace(examples.everything(), dataset="MARK"))
    broken = text.replace(
        "<bdi>MARK</bdi>", "<script>document.title = 'taken'</script><b onclick=\"document.title = 'taken'\">x</b>"
    )
    assert broken != text
    script = "d.querySelector('b[onclick]').click(); answer(d.title)"
    assert asked(broken, script, tmp_path) == "MARK – trunkline report"
