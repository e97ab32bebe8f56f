"""The command that erases: it counts before it does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.cli.conftest import Cli


def test_the_command_counts_first(finished_store: Path, tmp_path: Path, cli: Cli):
    store = tmp_path / "store"
    shutil.copytree(finished_store, store)
    ended = cli("purge", store)
    assert (ended.code, "0 would be erased" in ended.out) == (0, True)
    ended = cli("purge", store, "--json", "--erase", "--id", "0/none.png")
    assert (ended.code, "no image '0/none.png'" in ended.err) == (2, True)
    ended = cli("purge", store, "--json", "--erase")
    assert json.loads(ended.out.splitlines()[-1]) == {
        "dataset": "digits",
        "images": 0,
        "erased": True,
        "rewritten": 0,
        "deleted": 2,
        "notes": json.loads(ended.out.splitlines()[-1])["notes"],
    }
    ended = cli("purge", store, "--dataset", "digit")
    assert (ended.code, "Did you mean digits?" in ended.err) == (2, True)
