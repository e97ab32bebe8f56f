"""Whole stores in both formats, to be broken: a run over 160 digits, shards of 64, 64 and 32 rows."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.stores import copy_of, empty_store, images_in, objects, spec_for
from trunkline.clusters import Cluster
from trunkline.maintenance.verify import Verified, verify
from trunkline.specs import ClusterSpec, RunSpec
from trunkline.stages.run import run

SHARDS = ("000000000000", "000000000064", "000000000128")


@dataclass(frozen=True)
class Broken:
    """A store of one's own, with its own images."""

    path: Path
    format: str

    @property
    def features(self) -> Path:
        (found,) = (place.parent for place in self.path.glob("features/*/*/leases"))
        return found

    @property
    def images(self) -> list[Path]:
        return sorted((self.path.parent / "images").rglob("*.png"))

    @property
    def spec(self) -> RunSpec:
        return spec_for(self.path.parent / "images", self.path, format=self.format)

    def object(self, number: int) -> Path:
        """Of shard 0, 1 or 2."""
        if self.format == "zarr":
            return self.features / f"features.zarr/avg_pool/c/{number}/0"
        return sorted((self.features / "parts").glob("*.h5"))[number]

    def record(self, number: int) -> Path:
        return self.features / f"commits/{SHARDS[number]}.parquet"

    def objects(self) -> dict[str, tuple[str, int]]:
        """All objects but leases, which every writer adds to."""
        return {name: what for name, what in objects(self.path).items() if "/leases/" not in name}

    def verified(self) -> Verified:
        with Cluster(ClusterSpec(kind="inline")) as cluster:
            return verify(str(self.path), cluster)

    def whats(self) -> list[tuple[str, str]]:
        """(what, severity) of all findings."""
        return sorted((finding.what, str(finding.severity)) for finding in self.verified().findings)

    def run(self) -> dict[str, object]:
        with Cluster(self.spec.cluster) as cluster:
            return run(self.spec, cluster).summary()


@pytest.fixture(scope="session")
def hdf5_store(tmp_path_factory: pytest.TempPathFactory, digits_folder: Path, compiled_lite0: Path) -> Path:
    """As `finished_store`, in HDF5."""
    folder = tmp_path_factory.mktemp("finished-hdf5")
    source = images_in(folder / "images", digits_folder, 160)
    spec = spec_for(source, empty_store(folder / "store", compiled_lite0), format="hdf5")
    with Cluster(spec.cluster) as cluster:
        run(spec, cluster)
    return folder / "store"


@pytest.fixture(params=["zarr", "hdf5"])
def broken(request: pytest.FixtureRequest, finished_store: Path, hdf5_store: Path, tmp_path: Path) -> Broken:
    """Not broken yet."""
    return own_copy(finished_store if request.param == "zarr" else hdf5_store, tmp_path, request.param)


@pytest.fixture
def in_zarr(finished_store: Path, tmp_path: Path) -> Broken:
    """Where the format makes no difference."""
    return own_copy(finished_store, tmp_path, "zarr")


@pytest.fixture
def in_hdf5(hdf5_store: Path, tmp_path: Path) -> Broken:
    """What Zarr has none of: a file over the objects, and rows that are not compressed."""
    return own_copy(hdf5_store, tmp_path, "hdf5")


def own_copy(original: Path, folder: Path, format_: str) -> Broken:
    """With copies of the images, bound to where they are now."""
    store = copy_of(original, folder / "store")
    shutil.copytree(original.parent / "images", folder / "images")
    (store / "datasets/digits/source.json").unlink()
    (store / "datasets/digits/source.json").write_text(json.dumps({"root": str(folder / "images")}))
    return Broken(store, format_)


def flip(place: Path, at: int = 3000) -> None:
    """One bit of a byte."""
    content = bytearray(place.read_bytes())
    content[at] ^= 0x10
    place.write_bytes(content)


def cut(place: Path) -> None:
    """The second half is gone."""
    content = place.read_bytes()
    place.write_bytes(content[: len(content) // 2])
