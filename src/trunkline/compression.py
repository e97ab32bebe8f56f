"""How stored features may be compressed: names that people write, and what each format can do with them."""

from __future__ import annotations

from dataclasses import dataclass

# format → codec → (usual level, highest level); what every plain tool of the format opens
CODECS: dict[str, dict[str, tuple[int, int]]] = {
    "zarr": {"zstd": (1, 22), "blosc-lz4": (5, 9), "blosc-zstd": (5, 9), "gzip": (1, 9), "none": (0, 0)},
    "hdf5": {"none": (0, 0), "gzip": (1, 9)},
}
DEFAULT = {"zarr": "zstd", "hdf5": "none"}


@dataclass(frozen=True)
class Compression:
    """A codec of `CODECS` and its level, 0 for `none`."""

    codec: str
    level: int

    @classmethod
    def of(cls, text: str | None, format: str) -> Compression:
        """From `none`, `zstd`, `zstd-9`, `blosc-lz4`, …; the format's default from None. Raises ValueError for what the format lacks."""
        codecs = CODECS[format]
        text = text or DEFAULT[format]
        if text in codecs:
            return cls(text, codecs[text][0])
        codec, _, level = text.rpartition("-")
        if codec in codecs and level.isascii() and level.isdecimal() and 1 <= int(level) <= codecs[codec][1]:
            return cls(codec, int(level))
        known = ", ".join(f"{name} (or {name}-1 to {name}-{most})" if most else name for name, (_, most) in codecs.items())
        raise ValueError(f"{format} has no compression {text!r}; it has {known}")

    def __str__(self) -> str:
        return f"{self.codec}-{self.level}" if self.level else self.codec
