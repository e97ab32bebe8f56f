"""Compression by name: what each format has, with and without a level."""

from __future__ import annotations

import pytest

from trunkline.compression import CODECS, DEFAULT, Compression


@pytest.mark.parametrize(
    ("format_", "text", "said"),
    [
        ("zarr", None, "zstd-1"),
        ("zarr", "", "zstd-1"),
        ("zarr", "zstd", "zstd-1"),
        ("zarr", "zstd-22", "zstd-22"),
        ("zarr", "blosc-lz4", "blosc-lz4-5"),
        ("zarr", "blosc-zstd-3", "blosc-zstd-3"),
        ("zarr", "none", "none"),
        ("hdf5", None, "none"),
        ("hdf5", "gzip", "gzip-1"),
        ("hdf5", "gzip-9", "gzip-9"),
    ],
)
def test_a_name_and_what_is_kept_of_it(format_, text, said):
    found = Compression.of(text, format_)
    assert str(found) == said
    assert Compression.of(said, format_) == found


@pytest.mark.parametrize("format_", CODECS)
def test_every_codec_has_a_usual_level_within_its_range_and_the_default_is_one_of_them(format_):
    assert DEFAULT[format_] in CODECS[format_]
    assert all(0 <= usual <= most for usual, most in CODECS[format_].values())


@pytest.mark.parametrize(
    ("format_", "text"),
    [
        ("zarr", "zip"),
        ("zarr", "zstd-0"),
        ("zarr", "zstd-23"),
        ("zarr", "zstd-"),
        ("zarr", "none-1"),
        ("zarr", "zstd-²"),
        ("hdf5", "zstd"),
        ("hdf5", "gzip--1"),
    ],
)
def test_what_a_format_lacks_is_named_with_what_it_has(format_, text):
    with pytest.raises(ValueError, match=rf"{format_} has no compression '{text}'; it has .*gzip \(or gzip-1 to gzip-9\)"):
        Compression.of(text, format_)
