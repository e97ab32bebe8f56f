"""A source of any number of images that do not exist, and a backbone that does not compute: what is left is bookkeeping."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.backbones.compiled import Compiled
from trunkline.locations import Location
from trunkline.sources import Layout, Listed, layout_of

CLASSES, FEATURES, SIZE, BATCH = 100, 16, 8, 32
PIXELS = np.zeros((SIZE, SIZE, 3), np.uint8)


class StubSource:
    """`count` images in class folders, from the URI `stub://<count>`: names as long as real ones, sizes and times as versions."""

    tells_labels = False
    is_local = True

    def __init__(self, root: Location) -> None:
        self.root = root
        self._count = int(root.uri.rsplit("/", 1)[1])

    def check(self) -> None:
        """It is always there."""

    def listing(self) -> Iterator[Listed]:
        for number in range(self._count):
            yield listed(number)

    def layout_of(self, folders: Iterable[str], labels: str) -> Layout:
        return layout_of(folders, labels, self.root)

    def uri_of(self, image_id: str, place: str = "") -> str:  # noqa: ARG002
        return f"{self.root}/{image_id}"

    def read(self, image_id: str, version: str, place: str = "") -> bytes:  # noqa: ARG002
        return image_id.encode()

    def said(self) -> dict[str, Any]:
        return {"kind": "stub", "root": self.root.uri}


def listed(number: int) -> Listed:
    size = 40_000 + number % 60_000
    return Listed(
        f"class-{number % CLASSES:03d}/photo_{number:010d}.jpg", size, f"{size}-{1_790_000_000_000_000_000 + 7 * number}"
    )


class StubRuntime:
    """Features made of nothing: the same for every image, but not constant over them."""

    def run(self, pixels: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        return {"stub": np.arange(len(pixels) * FEATURES, dtype=np.float32).reshape(len(pixels), FEATURES)}

    def fingerprint(self) -> dict[str, str]:
        return {"runtime": "stub"}


def backbone(root: Location) -> Compiled:
    return Compiled(root / "backbones/stub", "files", SIZE, "uint8", BATCH, "f32", {"stub": (FEATURES,)}, 1, {})


def own_seconds(images: int = 100_000) -> float:
    """Seconds an image that the stub itself takes: reading, preparing and computing, in one thread."""
    import time

    source, runtime = StubSource(Location("stub://1")), StubRuntime()
    batch = np.zeros((BATCH, SIZE, SIZE, 3), np.uint8)
    started = time.perf_counter()
    for number in range(images):
        zlib.crc32(source.read("class-001/photo_0000000001.jpg", ""))
        if number % BATCH == 0:
            runtime.run(batch)
    return (time.perf_counter() - started) / images


def install() -> None:
    """Put the stubs in place of sources, decoders, backbones and runtimes, in this process."""
    from trunkline import image_stream, images, runtimes
    from trunkline.stages import extract, preview, scan
    from trunkline.store import feature_store

    stubbed: list[tuple[Any, str, Any]] = [
        (scan, "source_of", lambda spec: StubSource(Location(spec.source))),
        (preview, "source_of", lambda spec: StubSource(Location(spec.source))),
        (feature_store, "bound", lambda said: StubSource(Location(said["root"]))),
        (images, "load", lambda *_: PIXELS),
        (images, "load_each", lambda _, recipes: [PIXELS] * len(recipes)),
        (images, "decoded_bytes", lambda *_: 0),
        (runtimes, "load", lambda *_: StubRuntime()),
        (runtimes, "load_each", lambda wanted, _: [StubRuntime()] * len(wanted)),
        (runtimes, "refuse_what_cannot_run", lambda *_: None),
        (extract, "compiled", lambda root, _: backbone(root)),
    ]
    assert image_stream.images is images
    for owner, name, stub in stubbed:
        setattr(owner, name, stub)
