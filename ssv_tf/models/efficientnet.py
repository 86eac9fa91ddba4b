"""EfficientNet-Lite0: a small convolutional network whose ImageNet weights come with the package.

Tan and Le 2019, section 4, in its "Lite" form: no squeeze and excitation, and ReLU6 in place of
swish, so that it quantises well. The weights know ImageNet's categories and no viewpoint.
"""

import functools
import itertools
from pathlib import Path

import numpy as np

from ssv_tf.base.backend import keras, ops
from ssv_tf.base.types import Tensor

layers = keras.layers

# Kernel, repeats, filters, expansion and stride of the first repeat, for each stage.
_STAGES = (
    (3, 1, 16, 1, 1),
    (3, 2, 24, 6, 2),
    (5, 2, 40, 6, 2),
    (3, 3, 80, 6, 2),
    (5, 3, 112, 6, 1),
    (5, 4, 192, 6, 2),
    (3, 1, 320, 6, 1),
)
BLOCKS = sum(repeats for _, repeats, *_ in _STAGES)
_NORM_EPSILON = 1e-3
_FEW_POSITIONS = 64  # of a map whose depthwise convolution trains as a product of matrices
# ImageNet training's 0.99 and more needs thousands of steps to forget ImageNet's statistics.
_NORM_MOMENTUM = 0.98
WEIGHTS = Path(__file__).with_name("weights") / "efficientnet_lite0.npz"


def efficientnet_lite0(
    resolution: int, weights: str | None = "imagenet", top: bool = False, blocks: int = BLOCKS
) -> keras.Model:
    """The network without its classifier.

    Shapes, at resolution 64: [b, 64, 64, 3] in [-1, 1] -> [b, 2, 2, 320]; with `top`
    [b, 2, 2, 1280]. 3.37 M parameters with the top, 2.96 M without; 32 MMAC a picture at 64 px.
    Its first 11 blocks alone: [b, 4, 4, 112], 0.72 M parameters, 20 MMAC.

    Args:
      resolution: side of the picture in pixels, a multiple of 32.
      weights: "imagenet" loads the weights that come with the package, None starts anew.
      top: ends with the last 1 x 1 convolution, whose mean over the picture is what the
        classifier sees.
      blocks: inverted bottlenecks from the first on; all 16 by default.

    Returns:
      a functional keras.Model, trainable.

    Raises:
      ValueError: another resolution, other weights, or a top without all blocks.
    """
    if resolution < 32 or resolution % 32:
        raise ValueError(f"resolution must be a multiple of 32, got {resolution}")
    if weights not in ("imagenet", None):
        raise ValueError(f'weights must be "imagenet" or None, got {weights!r}')
    if not 1 <= blocks <= BLOCKS or (top and blocks < BLOCKS):
        raise ValueError(f"blocks must be 1 to {BLOCKS}, and all below a top, got {blocks}")
    picture = keras.Input((resolution, resolution, 3), name="picture")
    x = _convolution(picture, 32, 3, 2, "stem")
    repeated = ((stage, repeat) for stage in _STAGES for repeat in range(stage[1]))
    for number, (stage, repeat) in enumerate(itertools.islice(repeated, blocks)):
        kernel, _, filters, expansion, stride = stage
        step = 1 if repeat else stride
        x = _inverted_bottleneck(x, filters, kernel, expansion, step, f"block_{number}")
    if top:
        x = _convolution(x, 1280, 1, 1, "head")
    model = keras.Model(picture, x, name="efficientnet_lite0")
    if weights:
        _load(model)
    return model


@keras.saving.register_keras_serializable("ssv_tf")
class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """Convolves each channel by itself; on small maps it trains as a product of matrices.

    On a map of few positions a 5 x 5 kernel is nearly a matrix from all positions to all others,
    one for each channel. Its gradient as such takes a fraction of the time that TensorFlow's
    kernel for the gradient of the filters takes on a CPU. Answers and exports are the layer's own.
    It keeps Keras's name, by which weights are found in a file.
    """

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """[b, h, w, c] -> [b, h / stride, w / stride, c]."""
        height, width, channels = inputs.shape[1:]
        if not (training and self.trainable) or height * width > _FEW_POSITIONS:
            return super().call(inputs)
        stride = self.strides[0]
        taps = _taps(height, width, self.kernel_size[0], stride)
        _, positions_out, positions_in = taps.shape
        kernel = ops.reshape(ops.convert_to_tensor(self.kernel), (-1, channels))
        matrices = ops.matmul(
            ops.transpose(kernel), ops.convert_to_tensor(taps.reshape(len(taps), -1), kernel.dtype)
        )
        matrices = ops.reshape(matrices, (channels, positions_out, positions_in))
        flat = ops.reshape(inputs, (-1, positions_in, channels))
        out = ops.einsum("bic,coi->boc", flat, ops.cast(matrices, flat.dtype))
        return ops.reshape(out, (-1, -(-height // stride), -(-width // stride), channels))


@functools.cache
def _taps(height: int, width: int, kernel: int, stride: int) -> np.ndarray:
    """Which tap leads from one position to another: 0 or 1, [kernel^2, positions out, in].

    Padded as TensorFlow's "same" pads: what is uneven goes below and to the right.
    """
    rows, columns = (_taps_along(length, kernel, stride) for length in (height, width))
    taps = np.einsum("aio,bjp->abopij", rows, columns)
    positions_out = rows.shape[2] * columns.shape[2]
    return taps.reshape(kernel**2, positions_out, height * width).astype(np.float32)


def _taps_along(length: int, kernel: int, stride: int) -> np.ndarray:
    """As `_taps` of one axis: [kernel, positions in, out]."""
    outs = -(-length // stride)
    before = max((outs - 1) * stride + kernel - length, 0) // 2
    tap, position, out = np.ogrid[:kernel, :length, :outs]
    return position == out * stride + tap - before


def _convolution(x: Tensor, filters: int, kernel: int, stride: int, name: str) -> Tensor:
    convolution = layers.Conv2D(
        filters, kernel, stride, "same", use_bias=False, name=f"{name}_conv"
    )
    return layers.ReLU(6.0, name=f"{name}_relu")(_norm(convolution(x), f"{name}_norm"))


def _inverted_bottleneck(
    x: Tensor, filters: int, kernel: int, expansion: int, stride: int, name: str
) -> Tensor:
    """Widen, convolve each channel by itself, narrow (Sandler et al. 2018)."""
    y, width = x, x.shape[-1]
    if expansion > 1:
        y = _convolution(y, width * expansion, 1, 1, f"{name}_expand")
    depthwise = DepthwiseConv2D(
        kernel, stride, "same", use_bias=False, name=f"{name}_depthwise_conv"
    )
    y = _norm(depthwise(y), f"{name}_depthwise_norm")
    y = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(y)
    y = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_project_conv")(y)
    y = _norm(y, f"{name}_project_norm")
    if stride == 1 and width == filters:
        return layers.Add(name=f"{name}_add")([x, y])
    return y


def _norm(x: Tensor, name: str) -> Tensor:
    return layers.BatchNormalization(epsilon=_NORM_EPSILON, momentum=_NORM_MOMENTUM, name=name)(x)


def _load(model: keras.Model) -> None:
    with np.load(WEIGHTS, allow_pickle=False) as stored:
        for layer in model.layers:
            names = [weight.path.rsplit("/", 1)[1] for weight in layer.weights]
            if names:
                layer.set_weights(
                    [stored[f"{layer.name}/{name}"].astype("float32") for name in names]
                )
