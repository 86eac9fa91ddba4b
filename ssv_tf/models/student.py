"""A student of V for phones: picture -> viewpoint and confidence, in a few MMAC."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ssv_tf.base.backend import keras, ops
from ssv_tf.base.types import Shape, Tensor
from ssv_tf.models import encoding, layers
from ssv_tf.models.efficientnet import BLOCKS, efficientnet_lite0

MOBILENET, EFFICIENTNET = "mobilenet_v3_small", "efficientnet_lite0"
EFFICIENTNET_SMALL = "efficientnet_lite0_small"
FROM_IMAGENET = (EFFICIENTNET, EFFICIENTNET_SMALL)  # with weights to start from
BACKBONES = (MOBILENET, *FROM_IMAGENET)
_SMALL_BLOCKS = 11  # of 16: up to the fifth halving, beyond which most weights lie
_HIDDEN = 128
_EARLY_BLOCK = "block_2_add"  # of EfficientNet, whose channels tell pictures of something else
# MobileNet's own 0.999 needs ten thousand steps to forget where it began.
_NORM_MOMENTUM = 0.98


@keras.saving.register_keras_serializable("ssv_tf")
class StudentNetwork(keras.Model):
    """A small backbone, then heads for viewpoint and confidence.

    Shapes, at resolution 64: [b, 64, 64, 3] -> MobileNetV3-small (Howard et al. 2019; minimalistic:
    3x3 kernels, ReLU, no squeeze and excitation, which quantise well) -> [b, 2, 2, c] -> flat ->
    hidden layer -> linear heads. Batch normalisation alone, which folds into the convolutions; no
    answer depends on the other pictures of a batch. EfficientNet-Lite0 takes MobileNet's place
    where the student is to start from ImageNet features (`models.efficientnet`): c is 320 then. Its
    first 11 blocks, averaged by twos to [b, 2, 2, 112], have a quarter of its weights, as
    MobileNetV3-small has.

    It answers in V's own angles and code, so that V's calibration fits it as well.

    Args:
      resolution: side of the picture, from 32.
      width: multiplies MobileNetV3-small's channels.
      dropout: rate before the heads.
      backbone: "mobilenet_v3_small", "efficientnet_lite0" or, of the latter's first 11 blocks,
        "efficientnet_lite0_small"; both of these have one width, 1, and a resolution that is a
        multiple of 32.
      weights: "imagenet" starts EfficientNet-Lite0 from ImageNet's; None from nothing, or from a
        file that is loaded afterwards.
      centre_rad, stretch: the encoding.Encoding of its angles, V's own.
    """

    def __init__(
        self,
        *,
        resolution: int = 64,
        width: float = 1.0,
        dropout: float = 0.1,
        backbone: str = MOBILENET,
        weights: str | None = None,
        centre_rad: Sequence[float] = (0.0, 0.0, 0.0),
        stretch: Sequence[float] = (1.0, 1.0, 1.0),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.encoding = encoding.Encoding(tuple(centre_rad), tuple(stretch))  # type: ignore[arg-type]
        self.resolution, self.width, self.dropout_rate = resolution, width, dropout
        self.backbone_name = backbone
        self.backbone = _backbone(backbone, resolution, width, weights)
        self._features = _features_of(self.backbone)
        self.flat = keras.layers.Flatten(name="flat")
        self.hidden = keras.layers.Dense(_HIDDEN, activation="relu", name="hidden")
        self.dropout = keras.layers.Dropout(dropout, name="dropout")
        self.magnitude = keras.layers.Dense(6, name="magnitude")
        self.quadrant = keras.layers.Dense(12, name="quadrant")
        self.confidence = keras.layers.Dense(1, name="confidence")

    def build(self, input_shape: Shape | None = None) -> None:
        features = self.backbone.output_shape
        self.flat.build(features)
        flat = (None, features[1] * features[2] * features[3])
        self.hidden.build(flat)
        for head in (self.dropout, self.magnitude, self.quadrant, self.confidence):
            head.build((None, _HIDDEN))
        self.built = True

    def viewpoint(self, images: Tensor, training: bool = False) -> dict[str, Tensor]:
        """The viewpoint in V's code, and how sure it is.

        Args:
          images: [batch, resolution, resolution, 3] in [-1, 1].

        Returns:
          dict of magnitude_logits [batch, 3, 2], quadrant_logits [batch, 3, 4] and
          confidence_logit [batch, 1], log odds that the azimuth is right.
        """
        return self._heads(self.backbone(images, training=training), training)

    def answers(self, images: Tensor) -> dict[str, Tensor]:
        """As `viewpoint`, and what tells pictures of something else.

        Args:
          images: [batch, resolution, resolution, 3] in [-1, 1].

        Returns:
          `viewpoint`'s dict and channel_statistics [batch, 2 channels] of an early block
          (`layers.channel_statistics`).
        """
        early, last = self._features(images)
        statistics = layers.channel_statistics(early)
        return self._heads(last, training=False) | {"channel_statistics": statistics}

    def _heads(self, features: Tensor, training: bool) -> dict[str, Tensor]:
        x = self.hidden(self.flat(features))
        heads = self.dropout(x, training=training)
        return {
            "magnitude_logits": ops.reshape(self.magnitude(heads), (-1, 3, 2)),
            "quadrant_logits": ops.reshape(self.quadrant(heads), (-1, 3, 4)),
            # How sure it is must not change what it says.
            "confidence_logit": self.confidence(ops.stop_gradient(x)),
        }

    def call(self, images: Tensor, training: bool = False) -> dict[str, Tensor]:
        """As `viewpoint`."""
        return self.viewpoint(images, training)

    def angles_rad(self, prediction: Mapping[str, Tensor]) -> Tensor:
        """The angles [batch, 3] of a prediction, radians, V's own."""
        logits = prediction["magnitude_logits"], prediction["quadrant_logits"]
        return encoding.decode(*logits, self.encoding)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "resolution": self.resolution,
            "width": self.width,
            "dropout": self.dropout_rate,
            "backbone": self.backbone_name,
            "centre_rad": self.encoding.centre_rad,
            "stretch": self.encoding.stretch,
        }


def _features_of(backbone: keras.Model) -> Callable[[Tensor], list[Tensor]]:
    """Pictures -> [output of an early layer, output of the backbone], in one pass.

    A function, as a model would be saved a second time with the network.
    """
    names = [layer.name for layer in backbone.layers]
    if _EARLY_BLOCK in names:
        early = backbone.get_layer(_EARLY_BLOCK)
    else:  # Keras numbers MobileNet's activations anew each time
        early = next(layer for layer in backbone.layers if isinstance(layer, keras.layers.ReLU))
    model = keras.Model(backbone.input, [early.output, backbone.output])
    return lambda images: model(images, training=False)


def _backbone(name: str, resolution: int, width: float, weights: str | None) -> keras.Model:
    if name not in BACKBONES:
        raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, got {name!r}")
    if name in FROM_IMAGENET:
        if width != 1.0:
            raise ValueError(f"{name} has one width, 1, got {width}")
        blocks = BLOCKS if name == EFFICIENTNET else _SMALL_BLOCKS
        network = efficientnet_lite0(resolution, weights, blocks=blocks)
        if name == EFFICIENTNET:
            return network
        half = keras.layers.AveragePooling2D(2, name="pool")(network.output)
        return keras.Model(network.input, half, name=name)
    if weights:
        raise ValueError(f"{name} comes without weights, got {weights!r}")
    backbone = keras.applications.MobileNetV3Small(
        input_shape=(resolution, resolution, 3), alpha=width, minimalistic=True,
        include_top=False, weights=None, include_preprocessing=False, name="backbone",
    )  # fmt: skip
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = _NORM_MOMENTUM
    return backbone
