"""The architecture against the published one, counted without TensorFlow."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from trunkline.backbones.catalogue import find
from trunkline.backbones.efficientnet_lite import SCALES, Scale, blocks, keras_weights
from trunkline.backbones.torch_files import read_state_dict
from trunkline.backbones.weights import locate


def parameters(name: str) -> int:
    """Trainable ones: convolutions, scale and shift of each normalisation, the classifier."""
    stem, head, classes = 32, 1280, 1000
    total, width = 27 * stem + 2 * stem, stem
    for block in blocks(SCALES[name]):
        wide = block.width_in * block.expansion
        if block.expansion != 1:
            total += block.width_in * wide + 2 * wide
        total += block.kernel**2 * wide + 2 * wide
        total += wide * block.width_out + 2 * block.width_out
        width = block.width_out
    return total + width * head + 2 * head + head * classes + classes


@pytest.mark.parametrize(
    ("name", "published"),
    [("efficientnet-lite0", 4_652_008), ("efficientnet-lite1", 5_416_680), ("efficientnet-lite2", 6_092_072)],
)
def test_parameters_are_as_many_as_published(name, published):
    assert parameters(name) == published


@pytest.mark.parametrize("name", SCALES)
def test_blocks_follow_one_another(name):
    made = list(blocks(SCALES[name]))
    assert [block.name for block in made] == [f"block{number}" for number in range(len(made))]
    assert made[0].width_in == 32
    for one, following in pairwise(made):
        assert following.width_in == one.width_out
    assert np.prod([block.stride for block in made]) == 16  # and 2 of the stem: 32 in all
    assert all(block.width_out % 8 == 0 for block in made)


def test_a_residual_keeps_size_and_width():
    made = list(blocks(SCALES["efficientnet-lite0"]))
    assert [block.is_residual for block in made] == [block.stride == 1 and block.width_in == block.width_out for block in made]
    assert sum(block.is_residual for block in made) == 9


def test_widths_are_never_rounded_down_by_more_than_a_tenth():
    for width in np.linspace(0.3, 2.0, 40):
        for block, base in zip(blocks(Scale(width, 1.0)), blocks(Scale(1.0, 1.0)), strict=True):
            assert block.width_out >= 0.9 * base.width_out * width


def test_every_learned_value_of_the_checkpoint_is_placed_once():
    checkpoint = read_state_dict(locate(find("efficientnet-lite0"), None).path)
    placed = keras_weights("efficientnet-lite0", checkpoint)
    used = [values for each in placed.values() for values in each]
    there = [value for name, value in checkpoint.items() if not name.endswith("num_batches_tracked")]
    assert sum(values.size for values in used) == sum(value.size for value in there)
    assert sorted(float(np.abs(v).sum()) for v in used) == pytest.approx(
        sorted(float(np.abs(v).sum()) for v in there), rel=1e-4
    )


def test_kernels_are_turned_the_way_keras_reads_them():
    checkpoint = read_state_dict(locate(find("efficientnet-lite0"), None).path)
    placed = keras_weights("efficientnet-lite0", checkpoint)
    [stem], theirs = placed["stem_conv"], checkpoint["_conv_stem.weight"]
    assert stem.shape == (3, 3, 3, 32)
    assert stem[0, 1, 2, 30] == theirs[30, 2, 0, 1]
    [depthwise], theirs = placed["block3_depthwise_conv"], checkpoint["_blocks.3._depthwise_conv.weight"]
    assert depthwise.shape == (5, 5, 144, 1)
    assert depthwise[0, 4, 100, 0] == theirs[100, 0, 0, 4]
    matrix, bias = placed["predictions"]
    assert matrix[1279, 3] == checkpoint["_fc.weight"][3, 1279]
    assert bias.shape == (1000,)
    assert "block0_expand_conv" not in placed
