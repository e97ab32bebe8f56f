"""What comparing holds is judged before images are read."""

from __future__ import annotations

import pytest

from trunkline.backbones.compiled import Compiled
from trunkline.errors import DataError
from trunkline.locations import Location
from trunkline.probing.measuring import Prepared
from trunkline.probing.memory import driver_bytes, refuse_what_does_not_fit, worker_bytes
from trunkline.specs import Recipe


def network(lite0_recipe: Recipe, width: int) -> Prepared:
    backbone = Compiled(Location.of("/nowhere"), "files", 224, "uint8", 32, "f32", {"layer": (width,)}, 1, {})
    return Prepared(lite0_recipe, backbone, "openvino", None)


def test_it_grows_with_images_widths_networks_and_workers(lite0_recipe: Recipe):
    one, wide = network(lite0_recipe, 100), network(lite0_recipe, 4_000)
    assert driver_bytes([one], 2_000) > 2 * 2_000 * 100 * 4
    assert driver_bytes([wide], 2_000) > 4_000**2 * 8 + 2_000 * 4_000 * 8
    assert driver_bytes([one, one], 2_000) > driver_bytes([one], 2_000)
    assert worker_bytes([one, wide], 2**29) > worker_bytes([one], 2**29) > 2**29


def test_what_does_not_fit_is_refused_with_what_to_do(lite0_recipe: Recipe):
    networks = [network(lite0_recipe, 1_000)]
    refuse_what_does_not_fit(networks, 2_000, 2, 2**29, available=2**33)
    with pytest.raises(
        DataError, match=r"Comparing 1 networks on 2,000 images would hold .* for each of 2 workers\), and 1\.0 GiB"
    ):
        refuse_what_does_not_fit(networks, 2_000, 2, 2**29, available=2**30)
