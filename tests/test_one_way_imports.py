"""Imports go one way: src ← tasks ← flows; inside src without a circle; and heavy libraries only where they are used."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
HEAVY = {"tensorflow", "keras", "openvino", "torch", "xgboost", "dask", "distributed", "sklearn", "dask_cuda", "skops"}
ABOUT = {"trunkline.runtimes.openvino": {"openvino"}, "trunkline.logs.forwarding": {"distributed"}}
# who may not import whom, by the start of the module's name
WALLS = [
    ("trunkline.store", ("trunkline.stages", "trunkline.cli", "trunkline.reader", "trunkline.fan_out", "trunkline.heads")),
    ("trunkline.backbones", ("trunkline.store", "trunkline.stages", "trunkline.cli", "trunkline.runtimes", "trunkline.reader")),
    ("trunkline.runtimes", ("trunkline.store", "trunkline.stages", "trunkline.cli", "trunkline.reader")),
    ("trunkline.heads", ("trunkline.stages", "trunkline.store", "trunkline.cli", "trunkline.reader")),
    ("trunkline.probing", ("trunkline.stages", "trunkline.store", "trunkline.cli", "trunkline.report", "trunkline.reader")),
    ("trunkline.report", ("trunkline.stages", "trunkline.store", "trunkline.cli")),
    ("trunkline.stages", ("trunkline.cli",)),
    ("trunkline.reader", ("trunkline.stages", "trunkline.cli", "trunkline.runtimes", "trunkline.images")),
    ("trunkline.reading", ("trunkline.stages", "trunkline.cli", "trunkline.runtimes", "trunkline.images", "trunkline.reader")),
    ("trunkline.sources", ("trunkline.stages", "trunkline.cli", "trunkline.store", "trunkline.manifest", "trunkline.reader")),
    ("trunkline.finetuning", ("trunkline.stages", "trunkline.cli", "trunkline.reader", "trunkline.runtimes")),
    ("trunkline.maintenance", ("trunkline.cli", "trunkline.report")),
    ("trunkline.fan_out", ("trunkline.stages", "trunkline.cli", "trunkline.store")),
    ("trunkline.errors", ("trunkline.",)),
]


class Import(NamedTuple):
    importer: str
    imported: str
    at_module_level: bool


def module_name(path: Path) -> str:
    base = SOURCE if path.is_relative_to(SOURCE) else ROOT
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


MODULES = {module_name(path): path for path in files("src", "tasks", "flows")}


def _nodes(tree: ast.AST, inside: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Every import and whether it runs when the module is imported; those for type checkers alone are left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from _nodes(ast.Module(node.orelse, []), inside)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield node, not inside
        else:
            yield from _nodes(node, inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))


def imports_of(name: str, text: str) -> Iterator[Import]:
    for node, at_module_level in _nodes(ast.parse(text)):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        else:
            assert node.level == 0, f"{name} has a relative import"
            origin = node.module or ""
            inner = [f"{origin}.{alias.name}" for alias in node.names]
            found = [each if each in MODULES else origin for each in inner]
        yield from (Import(name, each, at_module_level) for each in dict.fromkeys(found))


IMPORTS = [each for name, path in MODULES.items() for each in imports_of(name, path.read_text(encoding="utf-8"))]


def top(name: str) -> str:
    return name.split(".", 1)[0]


def within(name: str, start: str) -> bool:
    return name.startswith(start) if start.endswith(".") else name == start or name.startswith(f"{start}.")


def said(found: list[Import]) -> list[str]:
    return [f"{each.importer} imports {each.imported}" for each in found]


def test_the_walk_sees_imports_of_every_kind():
    text = """
import os, sys as system
from trunkline import errors
from trunkline.store.commits import Commit
if TYPE_CHECKING:
    import torch
else:
    import json
try:
    import re
except ImportError:
    pass
def f():
    import keras.layers
class C:
    import csv
"""
    found = list(imports_of("here", text))
    assert {(each.imported, each.at_module_level) for each in found} == {
        ("os", True),
        ("sys", True),
        ("trunkline.errors", True),
        ("trunkline.store.commits", True),
        ("json", True),
        ("re", True),
        ("keras.layers", False),
        ("csv", True),
    }
    assert len(MODULES) > 50
    assert len(IMPORTS) > 300


def test_source_knows_neither_tasks_nor_flows_and_tasks_know_no_flow():
    rank = {"trunkline": 0, "tasks": 1, "flows": 2}
    upward = [each for each in IMPORTS if rank.get(top(each.imported), -1) > rank[top(each.importer)]]
    assert said(upward) == []


def test_source_does_not_know_prefect():
    assert said([each for each in IMPORTS if top(each.importer) == "trunkline" and top(each.imported) == "prefect"]) == []


def test_inside_source_there_is_no_circle():
    graph = {name: set() for name in MODULES if top(name) == "trunkline"}
    for each in IMPORTS:
        # every module imports its packages' __init__ too, the root alone aside: it imports the reader for users' sake
        if top(each.importer) == "trunkline" and each.imported in graph and each.imported != "trunkline":
            graph[each.importer].add(each.imported)
    assert next(iter(TopologicalSorter(graph).static_order()))  # raises CycleError that names the circle


def test_nothing_inside_imports_the_root():
    assert said([each for each in IMPORTS if top(each.importer) == "trunkline" and each.imported == "trunkline"]) == []


@pytest.mark.parametrize(("importer", "forbidden"), WALLS, ids=[wall[0] for wall in WALLS])
def test_walls(importer, forbidden):
    there = [each for each in IMPORTS if within(each.importer, importer)]
    assert there or importer == "trunkline.errors"
    assert said([each for each in there if any(within(each.imported, wall) for wall in forbidden)]) == []


def test_heavy_libraries_are_imported_where_they_are_used():
    found = [
        each
        for each in IMPORTS
        if each.at_module_level
        and top(each.importer) == "trunkline"
        and top(each.imported) in HEAVY - ABOUT.get(each.importer, set())
    ]
    assert said(found) == []


def test_importing_trunkline_is_light():
    heavy = [*sorted(HEAVY), "cv2", "prefect", "typer", "matplotlib", "PIL", "scipy", "simplejpeg"]
    code = f"import sys, trunkline; sys.stdout.write(' '.join(name for name in {heavy!r} if name in sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert ended.stdout == ""
