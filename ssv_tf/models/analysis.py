"""The analysis network V: picture -> viewpoint, style codes, realness (SSV section 3.1)."""

from collections.abc import Mapping, Sequence
from typing import Any

from ssv_tf.base.backend import keras, ops
from ssv_tf.base.types import Shape, Tensor
from ssv_tf.models import encoding, layers

# Channels after the first 1x1 convolution and after each halving, at the paper's width.
_WIDTHS = (128, 256, 512, 512, 512, 512)
_TOP_WIDTH = 512
_HIDDEN_WIDTH = 256
_EARLY_BLOCK = 1  # whose channels tell pictures of something else


@keras.saving.register_keras_serializable("ssv_tf")
class AnalysisNetwork(keras.Model):
    """V: a shared convolutional trunk with heads for viewpoint, style and realness.

    Shapes, at resolution 32: [b, 32, 32, 3] -> 1x1 conv -> blocks to 16, 8, 4 -> 4x4 conv ->
    [b, top] -> per angle a hidden layer with dropout and two linear heads.

    The minibatch standard deviation feeds a top of its own for realness, so no prediction of
    viewpoint or style can depend on the batch a picture comes in.

    Args:
      resolution: side of the picture, a power of two from 16.
      width: multiplies the paper's channels.
      style_size: length of the predicted style, z1 and z2 together.
      dropout: rate in the hidden layers of the angles.
      trunk: "paper", as above; "strided", whose blocks halve with their first convolution and
        normalise nothing, so that colour and brightness reach the heads, at half the cost.
      centre_rad, stretch: the encoding.Encoding of its angles.
    """

    def __init__(
        self,
        *,
        resolution: int = 32,
        width: float = 0.25,
        style_size: int = 128,
        dropout: float = 0.2,
        trunk: str = "paper",
        centre_rad: Sequence[float] = (0.0, 0.0, 0.0),
        stretch: Sequence[float] = (1.0, 1.0, 1.0),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.encoding = encoding.Encoding(tuple(centre_rad), tuple(stretch))  # type: ignore[arg-type]
        self.resolution, self.width, self.trunk = resolution, width, trunk
        self.style_size, self.dropout_rate = style_size, dropout
        widths = [max(8, round(w * width)) for w in _WIDTHS]
        top = max(16, round(_TOP_WIDTH * width))
        strided = trunk == "strided"
        self.from_rgb = layers.EqualizedConv(widths[0], 3 if strided else 1, name="from_rgb")
        self.blocks = []
        for level in range(resolution.bit_length() - 3):  # down to 4 x 4
            out = widths[min(level + 1, len(widths) - 1)]
            block = _StridedBlock if strided else _HalvingBlock
            self.blocks.append(block(out, name=f"block_{resolution >> level}"))
        self.top = layers.EqualizedConv(top, 4, padding="valid", name="top")
        self.batch_spread = layers.MinibatchStandardDeviation(name="batch_spread")
        self.realness_top = layers.EqualizedConv(top, 4, padding="valid", name="realness_top")
        self.realness_head = layers.EqualizedDense(1, name="realness")
        self.style_head = layers.EqualizedDense(style_size, name="style")
        hidden = max(16, round(_HIDDEN_WIDTH * width))
        self.angle_heads = [_AngleHead(hidden, dropout, name=f"angle_{i}") for i in range(3)]

    def build(self, input_shape: Shape | None = None) -> None:
        shape = (None, self.resolution, self.resolution, 3)
        self.from_rgb.build(shape)
        shape = (*shape[:3], self.from_rgb.filters)
        for block in self.blocks:
            block.build(shape)
            shape = (None, shape[1] // 2, shape[2] // 2, block.filters)
        self.top.build(shape)
        self.realness_top.build((*shape[:3], shape[3] + 1))
        flat = (None, self.top.filters)
        self.realness_head.build(flat)
        self.style_head.build(flat)
        for head in self.angle_heads:
            head.build(flat)
        self.built = True

    def _block_outputs(self, images: Tensor) -> list[Tensor]:
        outputs = [layers.leaky_relu(self.from_rgb(images))]
        for block in self.blocks:
            outputs.append(block(outputs[-1]))
        return outputs[1:]

    def _trunk(self, images: Tensor) -> Tensor:
        return self._block_outputs(images)[-1]  # [batch, 4, 4, channels]

    def _flat_top(self, x: Tensor) -> Tensor:
        return layers.leaky_relu(ops.reshape(self.top(x), (-1, self.top.filters)))

    def _angles(self, flat: Tensor, training: bool) -> dict[str, Tensor]:
        pairs = [head(flat, training=training) for head in self.angle_heads]
        return {
            "magnitude_logits": _float32(ops.stack([pair[0] for pair in pairs], axis=1)),
            "quadrant_logits": _float32(ops.stack([pair[1] for pair in pairs], axis=1)),
        }

    def viewpoint(self, images: Tensor, training: bool = False) -> dict[str, Tensor]:
        """The viewpoint alone, without style, realness or any batch statistic.

        Args:
          images: [batch, resolution, resolution, 3] in [-1, 1].

        Returns:
          dict of magnitude_logits [batch, 3, 2] and quadrant_logits [batch, 3, 4].
        """
        return self._angles(self._flat_top(self._trunk(images)), training)

    def answers(self, images: Tensor) -> dict[str, Tensor]:
        """As `viewpoint`, and what tells pictures of something else.

        Args:
          images: [batch, resolution, resolution, 3] in [-1, 1].

        Returns:
          `viewpoint`'s dict; of the trunk "strided" also channel_statistics [batch, 2 channels]
          (`layers.channel_statistics`). Instance norm leaves nothing of them.
        """
        outputs = self._block_outputs(images)
        answers = self._angles(self._flat_top(outputs[-1]), training=False)
        if self.trunk == "strided":
            answers["channel_statistics"] = layers.channel_statistics(outputs[_EARLY_BLOCK])
        return answers

    def angles_rad(self, prediction: Mapping[str, Tensor]) -> Tensor:
        """The angles [batch, 3] of a prediction, radians; differentiable in the magnitudes."""
        logits = prediction["magnitude_logits"], prediction["quadrant_logits"]
        return encoding.decode(*logits, self.encoding)

    def realness(self, images: Tensor) -> Tensor:
        """Realness scores [batch, 1], high for real; depends on the whole batch."""
        return self._realness(self._trunk(images))

    def _realness(self, x: Tensor) -> Tensor:
        x = layers.leaky_relu(self.realness_top(self.batch_spread(x)))
        return _float32(self.realness_head(ops.reshape(x, (-1, self.realness_top.filters))))

    def call(self, images: Tensor, training: bool = False) -> dict[str, Tensor]:
        """[batch, r, r, 3] in [-1, 1] -> magnitude_logits, quadrant_logits, style, realness."""
        x = self._trunk(images)
        flat = self._flat_top(x)
        return {
            **self._angles(flat, training),
            "style": _float32(self.style_head(flat)),
            "realness": self._realness(x),
        }

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "resolution": self.resolution,
            "width": self.width,
            "style_size": self.style_size,
            "dropout": self.dropout_rate,
            "trunk": self.trunk,
            "centre_rad": self.encoding.centre_rad,
            "stretch": self.encoding.stretch,
        }


@keras.saving.register_keras_serializable("ssv_tf")
class _HalvingBlock(keras.layers.Layer):
    """3x3 conv at full resolution, average pool, 3x3 conv; instance norm and leaky ReLU each."""

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.convs = [
            layers.EqualizedConv(filters, 3, use_bias=False, name=f"conv_{i}") for i in (0, 1)
        ]
        self.norms = [layers.instance_norm(f"norm_{i}") for i in (0, 1)]

    def build(self, input_shape: Shape) -> None:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            conv.build(input_shape)
            input_shape = (*input_shape[:3], self.filters)
            norm.build(input_shape)

    def call(self, x: Tensor) -> Tensor:
        x = layers.leaky_relu(self.norms[0](self.convs[0](x)))
        x = ops.average_pool(x, 2, strides=2)  # Keras 3.15 on JAX fails without strides
        return layers.leaky_relu(self.norms[1](self.convs[1](x)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable("ssv_tf")
class _StridedBlock(keras.layers.Layer):
    """3x3 conv with stride 2, 3x3 conv; leaky ReLU each, no normalisation: colour is kept."""

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.convs = [
            layers.EqualizedConv(filters, 3, strides=2 - i, name=f"conv_{i}") for i in (0, 1)
        ]

    def build(self, input_shape: Shape) -> None:
        for conv in self.convs:
            conv.build(input_shape)
            input_shape = (*input_shape[:3], self.filters)

    def call(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = layers.leaky_relu(conv(x))
        return x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable("ssv_tf")
class _AngleHead(keras.layers.Layer):
    """Hidden layer with dropout, then magnitude logits [b, 2] and quadrant logits [b, 4]."""

    def __init__(self, hidden: int, dropout: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden_size, self.rate = hidden, dropout
        self.hidden = layers.EqualizedDense(hidden, gain=2**0.5, name="hidden")
        self.dropout = keras.layers.Dropout(dropout, name="dropout")
        self.magnitude = layers.EqualizedDense(2, name="magnitude")
        self.quadrant = layers.EqualizedDense(4, name="quadrant")

    def build(self, input_shape: Shape) -> None:
        self.hidden.build(input_shape)
        self.magnitude.build((None, self.hidden_size))
        self.quadrant.build((None, self.hidden_size))

    def call(self, x: Tensor, training: bool = False) -> tuple[Tensor, Tensor]:
        x = self.dropout(layers.leaky_relu(self.hidden(x)), training=training)
        return self.magnitude(x), self.quadrant(x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden": self.hidden_size, "dropout": self.rate}


def _float32(x: Tensor) -> Tensor:
    return ops.cast(x, "float32")
