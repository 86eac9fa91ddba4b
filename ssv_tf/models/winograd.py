"""A 3 x 3 x 3 convolution of an upsampled volume by Winograd's minimal filtering. `keras.ops` only.

F(2, 3) gives two neighbouring outputs of a filter of three taps by four products instead of six
(Lavin and Gray 2016, equation 6): a volume's eight outputs by 64 instead of 216. What it adds is
sums of inputs, of taps and of products, which wide kernels outweigh.
"""

import numpy as np

from ssv_tf.base.backend import keras, ops
from ssv_tf.base.types import Shape, Tensor

# Lavin and Gray's B^T (inputs), G (taps) and A^T (products).
_OF_INPUTS = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], "float32")
_OF_TAPS = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], "float32")
_OF_PRODUCTS = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], "float32")
_RANK = 3
# Input and output channels from which on it was faster on a CPU: 256 to 128, not 128 to 64.
_FEWEST = 256 * 128


def is_faster(kernel_shape: Shape) -> bool:
    """Whether `upsampled_conv3d` is faster than upsampling and convolving.

    Args:
      kernel_shape: (depth, height, width, channels in, channels out), or of another rank.
    """
    if keras.backend.backend() != "tensorflow":  # nothing else was measured
        return False
    *window, inputs, outputs = kernel_shape
    return window == [3] * _RANK and inputs * outputs >= _FEWEST


def upsampled_conv3d(x: Tensor, kernel: Tensor, doubling: np.ndarray) -> Tensor:
    """The "same" convolution of a cube that is first doubled along every axis.

    Doubling and sums of inputs are one product with a small matrix along each axis. The four sums
    of an axis come before the batch, so that the products are 64 plain ones of matrices.

    Args:
      x: [batch, n, n, n, channels in].
      kernel: [3, 3, 3, channels in, channels out].
      doubling: [2 n, n], what each doubled point takes of each point.

    Returns:
      [batch, 2 n, 2 n, 2 n, channels out].
    """
    size, outputs = x.shape[1], kernel.shape[4]
    # [64, batch n^3, channels out], the 64 by depth, height and width.
    parts = ops.matmul(_sums_of_inputs(x, doubling), _sums_of_taps(kernel))
    of_products = ops.cast(_OF_PRODUCTS, x.dtype)
    for axis in range(_RANK):
        parts = ops.matmul(of_products, ops.reshape(parts, (2**axis, 4, -1)))
    parts = ops.reshape(parts, (2, 2, 2, -1, size, size, size, outputs))
    whole = ops.transpose(parts, (3, 4, 0, 5, 1, 6, 2, 7))
    return ops.reshape(whole, (-1, 2 * size, 2 * size, 2 * size, outputs))


def _sums_of_inputs(x: Tensor, doubling: np.ndarray) -> Tensor:
    """[batch, n, n, n, c] -> [64, batch n^3, c]."""
    size, channels = x.shape[1], x.shape[4]
    matrix = ops.cast(_input_matrix(doubling), x.dtype)
    for axis in range(_RANK):  # width, height, depth, so that depth comes first
        behind = channels * size**axis
        x = ops.matmul(matrix, ops.reshape(x, (1, -1, size, behind)))
    return ops.reshape(x, (4**_RANK, -1, channels))


def _input_matrix(doubling: np.ndarray) -> np.ndarray:
    """Of each tile the four sums of its four doubled points: float32 [4, 1, n, n]."""
    size = doubling.shape[1]
    padded = np.pad(doubling, ((1, 1), (0, 0)))  # zeros around, as "same" has
    tiles = np.stack([_OF_INPUTS @ padded[2 * i : 2 * i + 4] for i in range(size)], axis=1)
    return tiles[:, None].astype("float32")


def _sums_of_taps(kernel: Tensor) -> Tensor:
    """[3, 3, 3, c, f] -> [64, c, f]."""
    inputs, outputs = kernel.shape[3], kernel.shape[4]
    of_taps = ops.cast(_OF_TAPS, kernel.dtype)
    for axis in range(_RANK):
        kernel = ops.matmul(of_taps, ops.reshape(kernel, (4**axis, 3, -1)))
    return ops.reshape(kernel, (4**_RANK, inputs, outputs))
