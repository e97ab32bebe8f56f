"""Keras's own file with the same bytes for the same model."""

from __future__ import annotations

import io
import json
import re
import tempfile
import zipfile
from pathlib import Path
from typing import Any


def saved(model: Any) -> bytes:
    """Keras's file, without the time and places in memory: the same bytes for the same weights."""
    out, numbers = io.BytesIO(), dict[str, str]()

    def numbered(found: re.Match[str]) -> str:
        return f"{found[1]}{numbers.setdefault(found[2], str(len(numbers) + 1))}"

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        with zipfile.ZipFile(path) as there, zipfile.ZipFile(out, "w") as archive:
            for name in sorted(there.namelist()):
                content = there.read(name)
                if name == "metadata.json":
                    content = json.dumps({"keras_version": json.loads(content)["keras_version"]}).encode()
                if name == "config.json":
                    content = re.sub(r'("shared_object_id": )(\d+)', numbered, content.decode()).encode()
                archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return out.getvalue()
