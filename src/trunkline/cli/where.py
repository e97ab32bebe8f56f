"""The options that say where work is done, for commands that take no whole spec."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from trunkline.cli.options import CLUSTER_OPTIONS, laid_over
from trunkline.specs import ClusterSpec, validated

DEFAULT = "inline"


def takes_cluster(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a cluster; it receives `where`, a ClusterSpec, in their place: this process by default."""
    own = [each for each in inspect.signature(command, eval_str=True).parameters.values() if each.name != "where"]

    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        options = {name: given.pop(name) for name in CLUSTER_OPTIONS}
        said = laid_over({}, options, CLUSTER_OPTIONS).get("cluster", {})
        said.setdefault("kind", DEFAULT)
        command(where=validated(ClusterSpec, said, "The options"), **given)

    keyword = inspect.Parameter.KEYWORD_ONLY
    options = {**CLUSTER_OPTIONS, "cluster": replace(CLUSTER_OPTIONS["cluster"], default=DEFAULT)}
    shared = [inspect.Parameter(name, keyword, default=None, annotation=each.annotation) for name, each in options.items()]
    last = [each.replace(kind=keyword) for each in own if each.name == "as_json"]
    parameters = [*(each for each in own if each.name != "as_json"), *shared, *last]
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_options
