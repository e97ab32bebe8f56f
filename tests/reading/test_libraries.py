"""What is not installed is named, with the command that installs it."""

from __future__ import annotations

import sys

import pytest

from tests.reading.made import Made
from trunkline import open_features
from trunkline.errors import UserError


@pytest.mark.parametrize(
    ("method", "module", "install"),
    [
        ("dask", "dask.array", "dask[array]"),
        ("xarray", "xarray", "xarray"),
        ("pandas", "pandas", "pandas"),
        ("tf_data", "tensorflow", "tensorflow"),
        ("torch", "torch", "torch"),
    ],
)
def test_a_missing_library(fruit: Made, monkeypatch: pytest.MonkeyPatch, method: str, module: str, install: str):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError) as refused:
        getattr(open_features(fruit.place), method)()
    assert str(refused.value).startswith(f"Features.{method}() needs a library that is not here")
    assert f"pip install '{install}'. .numpy() and .arrow() read without it." in str(refused.value)
