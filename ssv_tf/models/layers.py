"""Layers shared by the analysis and the synthesis network. Backend-neutral: `keras.ops` only."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ssv_tf.base.backend import keras, ops
from ssv_tf.base.types import Shape, Tensor
from ssv_tf.models import winograd

LEAKY_SLOPE = 0.2
# Scope of `channel_statistics`, by which a quantiser can tell its operations.
STATISTICS = "channel_statistics"
MOST_CHANNELS = 32  # of a block: a calibration holds about twice the square of their number
_LEAST_DEVIATION = 0.1


def scaled(channels: int, width: float) -> int:
    """`channels` of the paper times a width multiplier, at least 8."""
    return max(8, round(channels * width))


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU with the paper's slope 0.2."""
    return ops.leaky_relu(x, LEAKY_SLOPE)


def standard_normal(shape: Shape, dtype: str | None = None) -> Tensor:
    """Initial weights N(0, 1).

    NumPy draws them for JAX, which would compile a program of half a second for every shape.
    """
    if keras.backend.backend() == "jax":
        return ops.convert_to_tensor(np.random.standard_normal(shape), dtype)
    return keras.initializers.RandomNormal(stddev=1.0)(shape, dtype)


@keras.saving.register_keras_serializable("ssv_tf")
class EqualizedConv(keras.layers.Layer):
    """2D or 3D convolution with equalised learning rate (Karras et al. 2018, section 4.1).

    Weights start as N(0, 1) and are multiplied by gain / sqrt(fan_in) at run time, so that Adam
    moves every layer at the same relative speed. "Same" padding unless `padding` says otherwise.

    Args:
      filters: output channels.
      kernel_size: side of the kernel.
      rank: 2 for [batch, height, width, channels], 3 with depth before height.
      use_bias: leave it out where a normalisation follows.
      gain: sqrt(2) before a leaky ReLU, 1 before a linear output.
      padding: "same" or "valid".
      bias_start: what every bias starts as.
      strides: step of the kernel.
      doubles: the input is doubled by `upsample` first.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 3,
        rank: int = 2,
        use_bias: bool = True,
        gain: float = 2**0.5,
        padding: str = "same",
        bias_start: float = 0.0,
        strides: int = 1,
        doubles: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.strides, self.doubles = strides, doubles
        self.filters, self.kernel_size, self.rank = filters, kernel_size, rank
        self.use_bias, self.gain, self.padding = use_bias, gain, padding
        self.bias_start = bias_start

    def build(self, input_shape: Shape) -> None:
        window = (self.kernel_size,) * self.rank
        fan_in = self.kernel_size**self.rank * input_shape[-1]
        self.scale = self.gain / fan_in**0.5
        self.kernel = self.add_weight(
            shape=(*window, input_shape[-1], self.filters),
            initializer=standard_normal,
            name="kernel",
        )
        if self.use_bias:
            start = keras.initializers.Constant(self.bias_start)
            self.bias = self.add_weight(shape=(self.filters,), initializer=start, name="bias")

    def call(self, x: Tensor) -> Tensor:
        out = self._convolved(x, self.kernel * self.scale)
        return out + self.bias if self.use_bias else out

    def _convolved(self, x: Tensor, kernel: Tensor) -> Tensor:
        if self.doubles and winograd.is_faster(kernel.shape):
            return winograd.upsampled_conv3d(x, kernel, _doubling_matrix(x.shape[1]))
        x = upsample(x) if self.doubles else x
        return ops.conv(x, kernel, self.strides, padding=self.padding)

    def get_config(self) -> dict[str, Any]:
        names = (
            "filters", "kernel_size", "rank", "use_bias", "gain", "padding", "bias_start",
            "strides", "doubles",
        )  # fmt: skip
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable("ssv_tf")
class EqualizedDense(keras.layers.Layer):
    """Dense layer with equalised learning rate: [batch, n] -> [batch, units]."""

    def __init__(
        self, units: int, gain: float = 1.0, bias_start: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units, self.gain, self.bias_start = units, gain, bias_start

    def build(self, input_shape: Shape) -> None:
        self.scale = self.gain / input_shape[-1] ** 0.5
        self.kernel = self.add_weight(
            shape=(input_shape[-1], self.units),
            initializer=standard_normal,
            name="kernel",
        )
        start = keras.initializers.Constant(self.bias_start)
        self.bias = self.add_weight(shape=(self.units,), initializer=start, name="bias")

    def call(self, x: Tensor) -> Tensor:
        return ops.matmul(x, self.kernel * self.scale) + self.bias

    def get_config(self) -> dict[str, Any]:
        config = {"units": self.units, "gain": self.gain, "bias_start": self.bias_start}
        return {**super().get_config(), **config}


def instance_norm(name: str | None = None) -> "GroupNormalization":
    """Instance normalisation with scale and offset, as tfa's layer (tests hold it to tfa)."""
    return GroupNormalization(groups=-1, epsilon=1e-3, name=name)


@keras.saving.register_keras_serializable("ssv_tf")
class GroupNormalization(keras.layers.GroupNormalization):
    """Keras's layer for groups of one channel, with right second derivatives on TensorFlow.

    The penalties on V's gradient need them. Keras takes variances from `tf.nn.moments`, which
    stops the gradient of the mean: right for first derivatives, which it does not change, but
    wrong for second ones. The class keeps its name, by which weights are found in a file.
    """

    def call(self, x: Tensor) -> Tensor:
        wide, axes = ops.cast(x, "float32"), tuple(range(1, len(x.shape) - 1))
        mean = ops.mean(wide, axes, keepdims=True)
        variance = ops.mean(ops.square(wide - mean), axes, keepdims=True)
        factor = ops.rsqrt(variance + self.epsilon) * ops.cast(self.gamma, "float32")
        normalised = wide * factor + (ops.cast(self.beta, "float32") - mean * factor)
        return ops.cast(normalised, x.dtype)


@keras.saving.register_keras_serializable("ssv_tf")
class AdaptiveInstanceNorm(keras.layers.Layer):
    """AdaIN (Huang and Belongie 2017): instance norm whose scale and offset come from a style.

    Call with [x, style]: x [batch, ..., channels] of any rank, style [batch, n].
    """

    def __init__(self, channels: int, epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels, self.epsilon = channels, epsilon
        self.affine = EqualizedDense(2 * channels, name="affine")

    def build(self, input_shape: Sequence[Shape]) -> None:
        self.affine.build(input_shape[1])

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        x, style = inputs
        axes = tuple(range(1, len(x.shape) - 1))
        scale, offset = ops.split(self.affine(style), 2, axis=-1)
        shape = (-1, *(1 for _ in axes), self.channels)
        mean, variance = ops.moments(x, axes=axes, keepdims=True)
        factor = (1.0 + ops.reshape(scale, shape)) * ops.rsqrt(variance + self.epsilon)
        return x * factor + (ops.reshape(offset, shape) - mean * factor)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "channels": self.channels, "epsilon": self.epsilon}


@keras.saving.register_keras_serializable("ssv_tf")
class StyledConv(keras.layers.Layer):
    """Convolution, AdaIN, leaky ReLU. Call with [x, style]; `doubles` upsamples x first."""

    def __init__(
        self, filters: int, rank: int, kernel_size: int = 3, doubles: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.rank, self.kernel_size = filters, rank, kernel_size
        self.doubles = doubles
        self.conv = EqualizedConv(
            filters, kernel_size, rank, use_bias=False, doubles=doubles, name="conv"
        )
        self.norm = AdaptiveInstanceNorm(filters, name="norm")

    def build(self, input_shape: Sequence[Shape]) -> None:
        self.conv.build(input_shape[0])
        self.norm.build([(*input_shape[0][:-1], self.filters), input_shape[1]])

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        x, style = inputs
        return leaky_relu(self.norm([self.conv(x), style]))

    def get_config(self) -> dict[str, Any]:
        names = "filters", "rank", "kernel_size", "doubles"
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable("ssv_tf")
class MinibatchStandardDeviation(keras.layers.Layer):
    """Appends the mean over features of a group's standard deviation (Karras et al. 2018).

    Groups are 4 neighbours in the batch (2, or all, where 4 does not divide it), so that a batch
    gives the same numbers however it is spread over devices. It makes one picture's features
    depend on others, so it may feed the realness head in training and nothing else.
    """

    def call(self, x: Tensor) -> Tensor:
        batch = x.shape[0] or 1
        group = next(size for size in (4, 2, 1) if batch % size == 0)
        grouped = ops.reshape(x, (-1, group, *x.shape[1:]))
        spread = ops.sqrt(ops.var(grouped, axis=1) + 1e-8)  # [groups, height, width, channels]
        plane = ops.repeat(ops.mean(spread, axis=(1, 2, 3), keepdims=True), group, axis=0)
        plane = plane * ops.ones_like(x[..., :1])
        return ops.concatenate([x, plane], axis=-1)


def channel_statistics(x: Tensor) -> Tensor:
    """What an early block says of a picture as a whole, whatever stands where in it.

    Args:
      x: [batch, height, width, channels]; the first `MOST_CHANNELS` count.

    Returns:
      float32 [batch, 2 channels]: the mean of each channel, then the logarithm of its deviation
      over the picture (plus 0.1, as a plain picture has none).
    """
    with keras.name_scope(STATISTICS):
        x = ops.cast(x[..., :MOST_CHANNELS], "float32")
        mean = ops.mean(x, axis=(1, 2), keepdims=True)
        deviation = ops.sqrt(ops.mean(ops.square(x - mean), axis=(1, 2)) + 1e-6)
        return ops.concatenate([mean[:, 0, 0], ops.log(deviation + _LEAST_DEVIATION)], axis=-1)


def pixel_norm(x: Tensor) -> Tensor:
    """Each vector over its root mean square (Karras et al. 2018, section 4.2)."""
    return x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + 1e-8)


def upsample(x: Tensor) -> Tensor:
    """Doubles every spatial axis by linear interpolation (bilinear or trilinear).

    Separable, half-pixel centres, edges repeated: the same numbers as UpSampling2D's bilinear.
    Each axis is a product with a small constant matrix, whose gradient is another; slices and
    their gradients took a tenth of a training step.
    Shape [batch, n1, .., nk, channels] -> [batch, 2 n1, .., 2 nk, channels].
    """
    shape = list(x.shape)
    for axis in range(1, len(shape) - 1):
        size, behind = shape[axis], int(np.prod(shape[axis + 1 :]))
        matrix = ops.cast(_doubling_matrix(size), x.dtype)
        x = ops.matmul(matrix, ops.reshape(x, (-1, size, behind)))
        shape[axis] = 2 * size
        x = ops.reshape(x, (-1, *shape[1:]))
    return x


def _doubling_matrix(size: int) -> np.ndarray:
    """Linear interpolation from `size` to 2 `size` points, float32 [2 size, size]."""
    source = np.clip((np.arange(2 * size) + 0.5) / 2.0 - 0.5, 0.0, size - 1.0)
    return np.maximum(0.0, 1.0 - np.abs(source[:, None] - np.arange(size))).astype("float32")
