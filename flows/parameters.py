"""Parameters that several flows take, with the words that stand beside them in the form.

Prefect gives each parameter a title and a description of its own, and leaves what `json_schema_extra` adds.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from trunkline.specs import ClusterSpec


def _in_form(title: str, description: str, **more: Any) -> Any:
    return Field(json_schema_extra={"title": title, "description": description, **more})


Store = Annotated[str, Field(min_length=1), _in_form("Store", "root of the feature store, a path or any fsspec URL")]
OneDataset = Annotated[str | None, _in_form("Dataset", "only this one; all by default")]
Refit = Annotated[
    bool, _in_form("Refit", "fit a new mask though one is pinned, and the heads on it; nothing is extracted again")
]
Reasons = Annotated[
    tuple[str, ...],
    _in_form("Reasons", "only images with one of these, such as truncated or missing; all by default", uniqueItems=True),
]
Where = Annotated[ClusterSpec, _in_form("Cluster", "where the work is done")]

HERE = ClusterSpec(kind="inline")
AUTO = ClusterSpec()
