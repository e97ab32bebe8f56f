"""A few kills of each process, in every suite; all of them, on every kind of store, among the slow tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kills import made
from tests.kills.campaign import FORMATS, aims, series, table
from tests.kills.place import Undisturbed
from tests.kills.series import Aim, Kill, Target
from tests.kills.started import STAGES

IMAGES = 300
SEED = 20


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, digits_folder: Path) -> Path:
    return made.images(tmp_path_factory.mktemp("kills") / "images", digits_folder, IMAGES)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, source: Path, compiled_lite0: Path) -> Undisturbed:
    return made.undisturbed(tmp_path_factory.mktemp("undisturbed"), source, compiled_lite0)


@pytest.mark.parametrize(
    ("kind", "some"),
    [
        ("zarr", [Aim("driver", "extract", 1)]),
        ("hdf5", [Aim("worker", "extract", begun=1), Aim("worker", "fit")]),
        pytest.param("zarr", [Aim("scheduler", "extract", 1)], marks=pytest.mark.slow),
    ],
)
def test_a_few_kills(kind: str, some: list[Aim], tmp_path: Path, source: Path, compiled_lite0: Path, undisturbed: Undisturbed):
    """The run ends by itself or when it is started again, as if nothing had happened."""
    one = series(kind, some[0].target, 0, SEED, tmp_path, source, compiled_lite0, undisturbed)
    kills = one.suffers(some)
    assert [kill.target for kill in kills] == [aim.target for aim in some]
    assert all(STAGES.index(kill.stage) >= STAGES.index(aim.stage) for kill, aim in zip(kills, some, strict=True))


@pytest.mark.slow
@pytest.mark.usefixtures("s3")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", range(2))
@pytest.mark.parametrize("target", ["driver", "worker", "scheduler"])
@pytest.mark.parametrize("kind", FORMATS)
def test_kills_in_every_stage(
    kind: str, target: Target, number: int, tmp_path: Path, source: Path, compiled_lite0: Path, undisturbed: Undisturbed
):
    one = series(kind, target, number, SEED, tmp_path, source, compiled_lite0, undisturbed)
    kills = one.suffers(aims(target))
    assert (
        len(kills) >= len(aims(target)) // 2
    )  # an aim is missed where the run has ended, or orphaned workers have finished the work


def test_the_table():
    kills = [
        Kill("worker", "zarr", "extract", 64, 10, 128),
        Kill("driver", "s3", "scan", 0, 1),
        Kill("worker", "zarr", "extract", 128, 20, 0),
    ]
    assert list(table(kills)) == [
        "| killed | in stage | store | kills | rows committed at the kill | rows redone | verdict |",
        "|---|---|---|---:|---|---:|---|",
        "| driver | scan | s3 | 1 | 0 | 0 | equal bit for bit |",
        "| worker | extract | zarr | 2 | 64 to 128 | 128 | equal bit for bit |",
        "| all | | | 3 | | 128 | |",
    ]
