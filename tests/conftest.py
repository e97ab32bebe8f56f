"""What many tests share: handwritten digits as image files, and a backbone compiled once."""

from __future__ import annotations

import fcntl
import importlib
import os
import warnings
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

from tests.digits import write_digits
from tests.s3 import bucket, faulty, no_pauses, s3, s3_endpoint, s3_faulty_endpoint  # noqa: F401
from tests.stack import stack  # noqa: F401
from tests.stores import empty_store, images_in, spec_for
from trunkline.backbones.compilation import Order
from trunkline.backbones.compiled import compiled
from trunkline.backbones.importing import import_keras
from trunkline.backbones.resolution import order_of
from trunkline.clusters import Cluster
from trunkline.locations import Location
from trunkline.specs import Recipe, RunSpec
from trunkline.stages.run import run

DIGITS = 300

settings.register_profile("steady", deadline=None, derandomize=True, database=None, max_examples=50)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 handwritten digits, 32 x 32 grey PNGs in class folders `0` to `9`: `3/0013.png`. Copy it before changing anything."""
    return write_digits(tmp_path_factory.mktemp("digits"), DIGITS)


@pytest.fixture(scope="session")
def lite0_order() -> Order:
    """The default backbone and recipe: EfficientNet-Lite0, `avg_pool`."""
    return order_of(RunSpec(source="/nowhere", store="/nowhere"))


@pytest.fixture(scope="session")
def lite0_recipe(lite0_order: Order) -> Recipe:
    """The default recipe."""
    return lite0_order.recipe


@pytest.fixture(scope="session")
def compiled_lite0(tmp_path_factory: pytest.TempPathFactory, lite0_order: Order) -> Path:
    """A folder whose `backbones/` holds the compiled backbone of `lite0_order`; compiled once, also for parallel workers.

    Copy `backbones/` into a store of your own: `shutil.copytree(compiled_lite0 / "backbones", store / "backbones")`.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    store = shared / "compiled_lite0"
    with (shared / "compiled_lite0.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the others wait here, and find it compiled
        compiled(Location.of(store), lite0_order)
    return store


@pytest.fixture(scope="session")
def finished_store(tmp_path_factory: pytest.TempPathFactory, digits_folder: Path, compiled_lite0: Path) -> Path:
    """A store after a whole run over 160 digits: shards of 64, 64 and 32 rows, a mask, a head, a report. Copy it before changing it.

    `tests.stores.spec_for(finished_store.parent / "images", finished_store)` is the spec of the run.
    """
    folder = tmp_path_factory.mktemp("finished")
    source = images_in(folder / "images", digits_folder, 160)
    spec = spec_for(source, empty_store(folder / "store", compiled_lite0))
    with Cluster(spec.cluster) as cluster:
        run(spec, cluster)
    return folder / "store"


@pytest.fixture(scope="session")
def tensorflow() -> ModuleType:
    """Imported once in this process; its own warnings while it starts are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import_keras()
        return importlib.import_module("tensorflow")
