"""Keras Applications: every network bound to its own preprocessing, size and weights file.

The default cut is what Keras gives for `include_top=False, pooling="avg"`. The published files are those with the top, so that
every layer can be cut. The tests compare all of the table with the installed Keras.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from trunkline.backbones.backbone import Backbone, Normalisation, Published
from trunkline.backbones.keras_files import load_keras_file
from trunkline.errors import BackboneError

HOST = "https://storage.googleapis.com"
CLASSES = 1000
TOP = 3  # layers with weights that a flattened network ends with

# the modes of keras.applications.imagenet_utils; networks that normalise inside take pixels as they are
TF = Normalisation(mean=127.5, deviation=127.5)
CAFFE = Normalisation(mean=(103.939, 116.779, 123.68), channels="bgr")
TORCH = Normalisation(mean=(123.675, 116.28, 103.53), deviation=(58.395, 57.12, 57.375))
INSIDE = Normalisation()

EFFICIENTNET_DEVIATIONS = (0.229, 0.224, 0.225)


class Row(NamedTuple):
    """One network: `function` of keras.applications, `file` below its family's folder, `saved_as` where Keras renames it."""

    name: str
    function: str
    size: int
    width: int
    parameters: int
    file: str
    checksum: str | None
    saved_as: str | None = None


@dataclass(frozen=True)
class Family:
    """What networks share: `least` is the smallest side in pixels; the top of a `flattened` one fits its own size only."""

    folder: str
    normalisation: Normalisation
    cut: str
    rows: tuple[Row, ...]
    least: int = 32
    flattened: bool = False

    def url(self, row: Row) -> str:
        return f"{HOST}/{self.folder}/{row.file}"

    def backbones(self) -> Iterator[Backbone]:
        for row in self.rows:
            yield Backbone(
                name=row.name,
                family="keras",
                size=row.size,
                normalisation=self.normalisation,
                cut=self.cut.format(name=row.name.replace("-", "_")),
                width=row.width,
                parameters=row.parameters,
                weights=Published(file=row.saved_as or row.file, url=self.url(row), checksum=row.checksum),
            )


# fmt: off
FAMILIES = (
    Family("tensorflow/keras-applications/vgg16", CAFFE, "block5_pool", flattened=True, rows=(
        Row("vgg16", "VGG16", 224, 512, 138_357_544,
            "vgg16_weights_tf_dim_ordering_tf_kernels.h5", "md5:64373286793e3c8b2b4e3219cbf3544b"),
    )),
    Family("tensorflow/keras-applications/vgg19", CAFFE, "block5_pool", flattened=True, rows=(
        Row("vgg19", "VGG19", 224, 512, 143_667_240,
            "vgg19_weights_tf_dim_ordering_tf_kernels.h5", "md5:cbe5617147190e668d6c5d5026f83318"),
    )),
    Family("tensorflow/keras-applications/resnet", CAFFE, "avg_pool", rows=(
        Row("resnet50", "ResNet50", 224, 2048, 25_636_712,
            "resnet50_weights_tf_dim_ordering_tf_kernels.h5", "md5:2cb95161c43110f7111970584f804107"),
        Row("resnet101", "ResNet101", 224, 2048, 44_707_176,
            "resnet101_weights_tf_dim_ordering_tf_kernels.h5", "md5:f1aeb4b969a6efcfb50fad2f0c20cfc5"),
        Row("resnet152", "ResNet152", 224, 2048, 60_419_944,
            "resnet152_weights_tf_dim_ordering_tf_kernels.h5", "md5:100835be76be38e30d865e96f2aaae62"),
    )),
    Family("tensorflow/keras-applications/resnet", TF, "avg_pool", rows=(
        Row("resnet50-v2", "ResNet50V2", 224, 2048, 25_613_800,
            "resnet50v2_weights_tf_dim_ordering_tf_kernels.h5", "md5:3ef43a0b657b3be2300d5770ece849e0"),
        Row("resnet101-v2", "ResNet101V2", 224, 2048, 44_675_560,
            "resnet101v2_weights_tf_dim_ordering_tf_kernels.h5", "md5:6343647c601c52e1368623803854d971"),
        Row("resnet152-v2", "ResNet152V2", 224, 2048, 60_380_648,
            "resnet152v2_weights_tf_dim_ordering_tf_kernels.h5", "md5:a49b44d1979771252814e80f8ec446f9"),
    )),
    Family("tensorflow/keras-applications/inception_v3", TF, "avg_pool", least=75, rows=(
        Row("inception-v3", "InceptionV3", 299, 2048, 23_851_784,
            "inception_v3_weights_tf_dim_ordering_tf_kernels.h5", "md5:9a0d58056eeedaa3f26cb7ebd46da564"),
    )),
    Family("tensorflow/keras-applications/inception_resnet_v2", TF, "avg_pool", least=75, rows=(
        Row("inception-resnet-v2", "InceptionResNetV2", 299, 1536, 55_873_736,
            "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels.h5", "md5:e693bd0210a403b3192acc6073ad2e96"),
    )),
    Family("tensorflow/keras-applications/xception", TF, "avg_pool", least=71, rows=(
        Row("xception", "Xception", 299, 2048, 22_910_480,
            "xception_weights_tf_dim_ordering_tf_kernels.h5", "md5:0a58e3b7378bc2990ea3b43d5981f1f6"),
    )),
    # Keras names no checksum of the next two
    Family("tensorflow/keras-applications/mobilenet", TF, "global_average_pooling2d", rows=(
        Row("mobilenet", "MobileNet", 224, 1024, 4_253_864, "mobilenet_1_0_224_tf.h5", None),
    )),
    Family("tensorflow/keras-applications/mobilenet_v2", TF, "global_average_pooling2d", rows=(
        Row("mobilenet-v2", "MobileNetV2", 224, 1280, 3_538_984,
            "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5", None),
    )),
    Family("tensorflow/keras-applications/mobilenet_v3", INSIDE, "global_average_pooling2d", rows=(
        Row("mobilenet-v3-small", "MobileNetV3Small", 224, 576, 2_554_968,
            "weights_mobilenet_v3_small_224_1.0_float.h5", "md5:8768d4c2e7dee89b9d02b2d03d65d862"),
        Row("mobilenet-v3-large", "MobileNetV3Large", 224, 960, 5_507_432,
            "weights_mobilenet_v3_large_224_1.0_float.h5", "md5:59e551e166be033d707958cf9e29a6a7"),
    )),
    Family("tensorflow/keras-applications/densenet", TORCH, "avg_pool", rows=(
        Row("densenet121", "DenseNet121", 224, 1024, 8_062_504,
            "densenet121_weights_tf_dim_ordering_tf_kernels.h5", "md5:9d60b8095a5708f2dcce2bca79d332c7"),
        Row("densenet169", "DenseNet169", 224, 1664, 14_307_880,
            "densenet169_weights_tf_dim_ordering_tf_kernels.h5", "md5:d699b8f76981ab1b30698df4c175e90b"),
        Row("densenet201", "DenseNet201", 224, 1920, 20_242_984,
            "densenet201_weights_tf_dim_ordering_tf_kernels.h5", "md5:1ceb130c1ea1b78c3bf6114dbdfd8807"),
    )),
    Family("tensorflow/keras-applications/nasnet", TF, "global_average_pooling2d", rows=(
        Row("nasnet-mobile", "NASNetMobile", 224, 1056, 5_326_716,
            "NASNet-mobile.h5", "md5:020fb642bf7360b370c678b08e0adf61", "nasnet_mobile.h5"),
        Row("nasnet-large", "NASNetLarge", 331, 4032, 88_949_818,
            "NASNet-large.h5", "md5:11577c9a518f0070763c2b964a382f17", "nasnet_large.h5"),
    )),
    Family("keras-applications", INSIDE, "avg_pool", rows=(
        Row("efficientnet-b0", "EfficientNetB0", 224, 1280, 5_330_571,
            "efficientnetb0.h5", "md5:902e53a9f72be733fc0bcb005b3ebbac"),
        Row("efficientnet-b1", "EfficientNetB1", 240, 1280, 7_856_239,
            "efficientnetb1.h5", "md5:1d254153d4ab51201f1646940f018540"),
        Row("efficientnet-b2", "EfficientNetB2", 260, 1408, 9_177_569,
            "efficientnetb2.h5", "md5:b15cce36ff4dcbd00b6dd88e7857a6ad"),
        Row("efficientnet-b3", "EfficientNetB3", 300, 1536, 12_320_535,
            "efficientnetb3.h5", "md5:ffd1fdc53d0ce67064dc6a9c7960ede0"),
        Row("efficientnet-b4", "EfficientNetB4", 380, 1792, 19_466_823,
            "efficientnetb4.h5", "md5:18c95ad55216b8f92d7e70b3a046e2fc"),
        Row("efficientnet-b5", "EfficientNetB5", 456, 2048, 30_562_527,
            "efficientnetb5.h5", "md5:ace28f2a6363774853a83a0b21b9421a"),
        Row("efficientnet-b6", "EfficientNetB6", 528, 2304, 43_265_143,
            "efficientnetb6.h5", "md5:165f6e37dce68623721b423839de8be5"),
        Row("efficientnet-b7", "EfficientNetB7", 600, 2560, 66_658_687,
            "efficientnetb7.h5", "md5:8c03f828fec3ef71311cd463b6759d99"),
    )),
    Family("tensorflow/keras-applications/efficientnet_v2", INSIDE, "avg_pool", rows=(
        Row("efficientnet-v2-b0", "EfficientNetV2B0", 224, 1280, 7_200_312,
            "efficientnetv2-b0.h5", "md5:21ecbf6da12460d5c40bb2f29ceb2188"),
        Row("efficientnet-v2-b1", "EfficientNetV2B1", 240, 1280, 8_212_124,
            "efficientnetv2-b1.h5", "md5:069f0534ff22adf035c89e2d9547a9dc"),
        Row("efficientnet-v2-b2", "EfficientNetV2B2", 260, 1408, 10_178_374,
            "efficientnetv2-b2.h5", "md5:424e49f28180edbde1e94797771950a7"),
        Row("efficientnet-v2-b3", "EfficientNetV2B3", 300, 1536, 14_467_622,
            "efficientnetv2-b3.h5", "md5:1f1fc43bd98a6e4fd8fdfd551e02c7a0"),
        Row("efficientnet-v2-s", "EfficientNetV2S", 384, 1280, 21_612_360,
            "efficientnetv2-s.h5", "md5:e1d88a8495beba45748fedd0cecbe016"),
        Row("efficientnet-v2-m", "EfficientNetV2M", 480, 1280, 54_431_388,
            "efficientnetv2-m.h5", "md5:a3bf6aa3276309f4fc6a34aa114c95cd"),
        Row("efficientnet-v2-l", "EfficientNetV2L", 480, 1280, 119_027_848,
            "efficientnetv2-l.h5", "md5:27e6d408b53c7ebc868fefa357689935"),
    )),
    Family("tensorflow/keras-applications/convnext", INSIDE, "{name}_head_layernorm", rows=(
        Row("convnext-tiny", "ConvNeXtTiny", 224, 768, 28_589_128, "convnext_tiny.h5",
            "sha256:8ae6e78ce2933352b1ef4008e6dd2f17bc40771563877d156bc6426c7cf503ff"),
        Row("convnext-small", "ConvNeXtSmall", 224, 768, 50_223_688, "convnext_small.h5",
            "sha256:ce1277d8f1ee5a0ef0e171469089c18f5233860ceaf9b168049cb9263fd7483c"),
        Row("convnext-base", "ConvNeXtBase", 224, 1024, 88_591_464, "convnext_base.h5",
            "sha256:52cbb006d3dadd03f6e095a8ca1aca47aecdd75acb4bc74bce1f5c695d0086e6"),
        Row("convnext-large", "ConvNeXtLarge", 224, 1536, 197_767_336, "convnext_large.h5",
            "sha256:070c5ed9ed289581e477741d3b34beffa920db8cf590899d6d2c67fba2a198a6"),
        Row("convnext-xlarge", "ConvNeXtXLarge", 224, 2048, 350_196_968, "convnext_xlarge.h5",
            "sha256:c1f5ccab661354fc3a79a10fa99af82f0fbf10ec65cb894a3ae0815f17a889ee"),
    )),
)
# fmt: on

BACKBONES: tuple[Backbone, ...] = tuple(backbone for family in FAMILIES for backbone in family.backbones())
NETWORKS: Mapping[str, tuple[Family, Row]] = {row.name: (family, row) for family in FAMILIES for row in family.rows}


def build(name: str, size: int) -> Any:
    """The whole network, untrained; its layers have the same names however many were built before.

    Parameters
    ----------
    name : of `NETWORKS`.
    size : side of the input in pixels.

    Returns
    -------
    keras.Model from (n, size, size, 3) float32, normalised, to (n, 1000): ImageNet class probabilities. VGG flattens its last map,
    so at another size than its own it ends at `block5_pool`.

    Raises
    ------
    BackboneError : the size is below the network's least.
    """
    import keras

    family, row = NETWORKS[name]
    if size < family.least:
        raise BackboneError(
            f"{name} needs images of at least {family.least} pixels a side, and {size} was asked for: below that no pixel is left of its "
            f"last feature map. Its own size is {row.size}."
        )
    policy = keras.config.dtype_policy()
    with ThreadPoolExecutor(1) as fresh:  # Keras counts its automatic names (activation_7) by thread
        return fresh.submit(_built, family, row, size, policy).result()


def _built(family: Family, row: Row, size: int, policy: Any) -> Any:
    import keras

    keras.config.set_dtype_policy(policy)  # it is a thread's own too
    whole = size == row.size or not family.flattened
    function = getattr(keras.applications, row.function)
    model = function(weights=None, input_shape=(size, size, 3), include_top=whole, classes=CLASSES)
    return _with_second_scaling(model) if re.fullmatch("EfficientNetB[0-7]", row.function) else model


def _with_second_scaling(model: Any) -> Any:
    """The EfficientNet that the published weights belong to: Keras scales its input a second time only with weights="imagenet".

    The reason is in keras.applications.efficientnet: the network was trained on pixels divided by the square root of deviations.
    """
    import keras

    def call(layer: Any, *inputs: Any, **options: Any) -> Any:
        outputs = layer(*inputs, **options)
        if layer.name != "normalization":
            return outputs
        scale = [1.0 / each**0.5 for each in EFFICIENTNET_DEVIATIONS]
        return keras.layers.Rescaling(scale, name="rescaling_1")(outputs)

    pixels = keras.Input(model.input_shape[1:], name=model.layers[0].name)
    return keras.models.clone_model(model, input_tensors=pixels, call_function=call)


def load_weights(model: Any, name: str, path: Path) -> None:
    """Fill a built network from a Keras weights file, published or the user's own.

    Parameters
    ----------
    model : what `build` gives; where it lacks its top, files with and without are taken.
    name : of `NETWORKS`.
    path : see `load_keras_file`.

    Raises
    ------
    BackboneError : it is damaged, or not of this network.
    """
    family, row = NETWORKS[name]
    topless = family.flattened and model.input_shape[1] != row.size
    load_keras_file(model, path, name=name, published=family.url(row), spare=TOP if topless else 0)
