"""Where networks are cut: at the ends of their blocks, whatever these are called."""

from __future__ import annotations

from trunkline.backbones.backbone import Layer
from trunkline.backbones.compilation import Cuts
from trunkline.probing.cuts import MOST_CUTS, classifier, sensible
from trunkline.probing.entries import Entry
from trunkline.probing.networks import laid
from trunkline.specs import RunSpec

WIDTH = {"Dense": (1000,), "GlobalAveragePooling2D": (64,), "Flatten": (9_000,)}


def network(cut: str, *layers: tuple[str, str]) -> Cuts:
    return Cuts([Layer(name, kind, WIDTH.get(kind, (7, 7, 64))) for name, kind in layers], cut, 0)


END = (("avg_pool", "GlobalAveragePooling2D"), ("predictions", "Dense"))


def test_blocks_end_with_their_sum_or_their_last_layer():
    layers = [("stem_conv", "Conv2D"), ("stem_relu", "ReLU")]
    for block in range(3):
        layers += [(f"block{block}_conv", "Conv2D"), (f"block{block}_bn", "BatchNormalization")]
    layers += [("block2_add", "Add"), ("head_conv", "Conv2D"), ("head_relu", "ReLU"), *END]
    assert sensible(network("avg_pool", *layers), "avg") == ["stem_relu", "block0_bn", "block1_bn", "block2_add", "avg_pool"]


def test_the_map_before_average_pooling_counts_with_another_pooling():
    layers = [(f"block{number}_out", "ReLU") for number in range(4)]
    assert sensible(network("avg_pool", *layers, *END), "avg")[-2:] == ["block2_out", "avg_pool"]
    assert sensible(network("avg_pool", *layers, *END), "gem")[-2:] == ["block3_out", "avg_pool"]


def test_an_activation_after_the_sum_belongs_to_the_block():
    layers = []
    for stage in (2, 3):
        for block in (1, 2):
            name = f"conv{stage}_block{block}"
            layers += [(f"{name}_1_conv", "Conv2D"), (f"{name}_add", "Add"), (f"{name}_out", "Activation")]
    found = sensible(
        network("avg_pool", ("pool1_pool", "MaxPooling2D"), *layers, ("post_bn", "BatchNormalization"), *END), "avg"
    )
    assert found == ["pool1_pool", "conv2_block1_out", "conv2_block2_out", "conv3_block1_out", "conv3_block2_out", "avg_pool"]


def test_sums_without_a_block_s_name_end_it_all_the_same():
    layers = [(f"block{number}_sepconv", "SeparableConv2D") for number in (1, 2, 3)]
    woven = [each for number, layer in enumerate(layers) for each in (layer, (f"add_{number}", "Add"))]
    assert sensible(network("avg_pool", *woven, ("conv", "Conv2D"), ("act", "ReLU"), *END), "avg")[:3] == [
        "add_0",
        "add_1",
        "add_2",
    ]


def test_branches_that_meet_under_the_block_s_own_name():
    layers = []
    for number in range(3):
        layers += [(f"conv2d_{number}", "Conv2D"), (f"mixed{number}", "Concatenate")]
    assert sensible(network("avg_pool", *layers, ("relu", "ReLU"), *END), "avg")[1:4] == ["mixed0", "mixed1", "mixed2"]


def test_a_chain_is_cut_before_its_next_weights_and_its_dense_layers_count():
    layers = [
        ("conv1", "Conv2D"),
        ("pool1", "MaxPooling2D"),
        ("conv2", "Conv2D"),
        ("conv2_prelu", "PReLU"),
        ("conv3", "Conv2D"),
        ("pool3", "MaxPooling2D"),
        ("flatten", "Flatten"),
        ("fc6", "Dense"),
        ("fc7", "Dense"),
        ("predictions", "Dense"),
    ]
    assert sensible(network("pool3", *layers), "avg") == ["pool1", "conv2_prelu", "pool3", "fc6", "fc7"]


def test_networks_without_block_names_are_cut_where_branches_meet():
    layers = [each for number in range(5) for each in ((f"n{number}", "Conv"), (f"m{number}", "Add"), (f"r{number}", "Relu"))]
    assert sensible(network("r4", *layers, ("logits", "Gemm")), "max") == ["r0", "r1", "r2", "r3", "r4"]


def test_deep_networks_are_thinned_and_keep_both_ends():
    layers = [(f"block{number}_add", "Add") for number in range(90)]
    found = sensible(network("avg_pool", *layers, ("relu", "ReLU"), *END), "avg")
    assert len(found) == MOST_CUTS
    assert (found[0], found[-1]) == ("block0_add", "avg_pool")


def test_too_wide_layers_are_left_out_but_for_the_default_cut():
    wide = Cuts([Layer(f"block{n}_out", "ReLU", (1, 1, 64 if n else 8_000)) for n in range(3)], "block2_out", 0)
    assert sensible(wide, "max") == ["block1_out", "block2_out"]


def test_the_classifier_is_the_last_layer_where_it_has_the_classes():
    assert classifier(network("avg_pool", *END), 1000) == "predictions"
    assert classifier(network("avg_pool", *END), 10) is None


def test_layers_that_are_asked_for_are_compared_in_the_network_s_order():
    spec = RunSpec.model_validate({"source": "a/", "store": "b/", "layers": ["avg_pool", "block10_add"]})
    where = laid(Entry.of("efficientnet-lite0", spec), spec)
    assert where.layers == ("block10_add", "avg_pool")
    assert where.classifier is not None
