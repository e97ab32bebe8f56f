"""AlexNet and GoogLeNet against torchvision's, layer by layer, on random weights read from files that torch wrote.

torch is no dependency: these tests run where it and torchvision are installed.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from trunkline.backbones import classic

pytestmark = [
    pytest.mark.usefixtures("tensorflow"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),  # Keras's own
]
TOLERANCE = 1e-4  # of the largest value of a layer
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
ALEXNET = {
    "features.1": "conv1",
    "features.2": "pool1",
    "features.4": "conv2",
    "features.5": "pool2",
    "features.7": "conv3",
    "features.9": "conv4",
    "features.11": "conv5",
    "features.12": "pool5",
    "avgpool": "pool5",
    "classifier.2": "fc6",
    "classifier.5": "fc7",
    "": "predictions",
}


@pytest.fixture(scope="module")
def torchvision() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("torch")
        return pytest.importorskip("torchvision")


def random_network(torchvision: ModuleType, name: str) -> Any:
    """A network of torchvision in evaluation, with seeded random weights and running statistics; GoogLeNet as its checkpoint needs it."""
    import torch

    torch.manual_seed(7)
    # init_weights=False: PyTorch's own random weights; the module's take a minute
    more = {"transform_input": True, "aux_logits": True, "init_weights": False} if name == "googlenet" else {}
    network = getattr(torchvision.models, name)(weights=None, **more).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 0.5),
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 1.5),
            ):
                torch.nn.init.uniform_(values, low, high)
    return network


def activations(network: Any, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Module name → its output, channels last; the network's own, under "", as probabilities. `pixels` is (n, h, w, 3), 0 to 255."""
    import torch

    found: dict[str, np.ndarray] = {}

    def keep(name: str) -> Any:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            values = output.detach().softmax(dim=1) if name == "" else output.detach()
            found[name] = (values.permute(0, 2, 3, 1) if values.ndim == 4 else values).numpy().copy()

        return hook

    for name, module in network.named_modules():
        module.register_forward_hook(keep(name))
    normalised = ((pixels / 255 - MEAN) / DEVIATION).transpose(0, 3, 1, 2)
    with torch.no_grad():
        network(torch.tensor(normalised, dtype=torch.float32))
    return found


def differences(
    name: str, size: int, file: Path, ours: dict[str, str], theirs: dict[str, np.ndarray], pixels: np.ndarray
) -> dict[str, float]:
    """Keras layer → largest difference from torchvision's output, in units of the largest value there."""
    import keras

    [backbone] = [backbone for backbone in classic.BACKBONES if backbone.name == name]
    model = classic.build(name, size)
    classic.load_weights(model, name, file)
    cuts = keras.Model(model.input, {layer: model.get_layer(layer).output for layer in ours.values()})
    normalised = (pixels - np.array(backbone.normalisation.mean)) / np.array(backbone.normalisation.deviation)
    computed = cuts(normalised.astype(np.float32), training=False)
    return {
        f"{module or 'network'} = {layer}": float(
            np.abs(theirs[module].reshape(computed[layer].shape) - np.asarray(computed[layer])).max()
            / np.abs(theirs[module]).max()
        )
        for module, layer in ours.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
@pytest.mark.parametrize(("name", "size"), [("alexnet", 224), ("googlenet", 224), ("googlenet", 97), ("googlenet", 15)])
def test_every_layer_equals_torchvisions(torchvision, tmp_path, name, size, zipped):
    import torch

    network = random_network(torchvision, name)
    torch.save(network.state_dict(), tmp_path / "weights.pth", _use_new_zipfile_serialization=zipped)
    pixels = np.random.default_rng(8).integers(0, 256, (2, size, size, 3)).astype(np.float64)
    theirs = activations(network, pixels)
    if name == "alexnet":
        ours = ALEXNET
    else:
        kinds = ("BasicConv2d", "MaxPool2d", "Inception")
        modules = {key: type(module).__name__ for key, module in network.named_modules() if not key.startswith("aux")}
        ours = {key: key.replace(".", "_") for key, kind in modules.items() if kind in kinds}
        assert len(ours) == 57 + 13 + 9  # convolutions, pools, modules
        ours |= {"avgpool": "avg_pool", "": "predictions"}
    found = differences(name, size, tmp_path / "weights.pth", ours, theirs, pixels)
    assert max(found.values()) < TOLERANCE, found
    assert all(np.ptp(theirs[module]) > 0 for module in ours)


@pytest.mark.parametrize("name", ["alexnet", "googlenet"])
def test_the_keys_are_torchvisions(torchvision, name, tmp_path):
    """A checkpoint nested under `state_dict` is read as well, and a wrong one of the two is refused."""
    import torch

    network = random_network(torchvision, name)
    torch.save({"epoch": 3, "state_dict": network.state_dict()}, tmp_path / "weights.pth")
    model = classic.build(name, 224)
    classic.load_weights(model, name, tmp_path / "weights.pth")
    [matrix, _] = model.get_layer("predictions").get_weights()
    last = network.fc if name == "googlenet" else network.classifier[6]
    np.testing.assert_array_equal(matrix, last.weight.detach().numpy().T)
