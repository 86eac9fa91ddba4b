"""Layers shared by the analysis and the synthesis network. Backend-neutral: `keras.ops` only."""

import keras
import numpy as np
from keras import ops

from ssv_tf import viewpoint

LEAKY_SLOPE = 0.2


def fused(function):
    """Compiles a chain of small operations with XLA where TensorFlow would run them one by one.

    The turned volume, its compositing and their gradients take a third of the time that way on a
    CPU. Other backends compile the whole step and get the function as it is.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)


def leaky_relu(x):
    """Leaky ReLU with the paper's slope 0.2."""
    return ops.leaky_relu(x, LEAKY_SLOPE)


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
    """

    def __init__(
        self,
        filters,
        kernel_size=3,
        rank=2,
        use_bias=True,
        gain=2**0.5,
        padding="same",
        bias_start=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.rank = filters, kernel_size, rank
        self.use_bias, self.gain, self.padding = use_bias, gain, padding
        self.bias_start = bias_start

    def build(self, input_shape):
        window = (self.kernel_size,) * self.rank
        fan_in = self.kernel_size**self.rank * input_shape[-1]
        self.scale = self.gain / fan_in**0.5
        self.kernel = self.add_weight(
            shape=(*window, input_shape[-1], self.filters),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            name="kernel",
        )
        if self.use_bias:
            start = keras.initializers.Constant(self.bias_start)
            self.bias = self.add_weight(shape=(self.filters,), initializer=start, name="bias")

    def call(self, x):
        out = ops.conv(x, self.kernel * self.scale, padding=self.padding)
        return out + self.bias if self.use_bias else out

    def get_config(self):
        names = (
            "filters", "kernel_size", "rank", "use_bias", "gain", "padding", "bias_start",
        )  # fmt: skip
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable("ssv_tf")
class EqualizedDense(keras.layers.Layer):
    """Dense layer with equalised learning rate: [batch, n] -> [batch, units]."""

    def __init__(self, units, gain=1.0, bias_start=0.0, **kwargs):
        super().__init__(**kwargs)
        self.units, self.gain, self.bias_start = units, gain, bias_start

    def build(self, input_shape):
        self.scale = self.gain / input_shape[-1] ** 0.5
        self.kernel = self.add_weight(
            shape=(input_shape[-1], self.units),
            initializer=keras.initializers.RandomNormal(stddev=1.0),
            name="kernel",
        )
        start = keras.initializers.Constant(self.bias_start)
        self.bias = self.add_weight(shape=(self.units,), initializer=start, name="bias")

    def call(self, x):
        return ops.matmul(x, self.kernel * self.scale) + self.bias

    def get_config(self):
        own = {"units": self.units, "gain": self.gain, "bias_start": self.bias_start}
        return {**super().get_config(), **own}


def instance_norm(name=None):
    """Instance normalisation with scale and offset, as tfa's layer (tests hold it to tfa)."""
    return keras.layers.GroupNormalization(groups=-1, epsilon=1e-3, name=name)


@keras.saving.register_keras_serializable("ssv_tf")
class AdaptiveInstanceNorm(keras.layers.Layer):
    """AdaIN (Huang and Belongie 2017): instance norm whose scale and offset come from a style.

    Call with [x, style]: x [batch, ..., channels] of any rank, style [batch, n].
    """

    def __init__(self, channels, epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.channels, self.epsilon = channels, epsilon
        self.affine = EqualizedDense(2 * channels, name="affine")

    def build(self, input_shape):
        self.affine.build(input_shape[1])

    def call(self, inputs):
        x, style = inputs
        axes = tuple(range(1, len(x.shape) - 1))
        scale, offset = ops.split(self.affine(style), 2, axis=-1)
        shape = (-1, *(1 for _ in axes), self.channels)
        mean, variance = ops.moments(x, axes=axes, keepdims=True)
        factor = (1.0 + ops.reshape(scale, shape)) * ops.rsqrt(variance + self.epsilon)
        return x * factor + (ops.reshape(offset, shape) - mean * factor)

    def get_config(self):
        return {**super().get_config(), "channels": self.channels, "epsilon": self.epsilon}


@keras.saving.register_keras_serializable("ssv_tf")
class MinibatchStandardDeviation(keras.layers.Layer):
    """Appends the mean over features of a group's standard deviation (Karras et al. 2018).

    Groups are 4 neighbours in the batch (2, or all, where 4 does not divide it), so that a batch
    gives the same numbers however it is spread over devices. It makes one picture's features
    depend on others, so it may feed the realness head in training and nothing else.
    """

    def call(self, x):
        batch = x.shape[0] or 1
        group = next(size for size in (4, 2, 1) if batch % size == 0)
        grouped = ops.reshape(x, (-1, group, *x.shape[1:]))
        spread = ops.sqrt(ops.var(grouped, axis=1) + 1e-8)  # [groups, height, width, channels]
        plane = ops.repeat(ops.mean(spread, axis=(1, 2, 3), keepdims=True), group, axis=0)
        plane = plane * ops.ones_like(x[..., :1])
        return ops.concatenate([x, plane], axis=-1)


def pixel_norm(x):
    """Each vector over its root mean square (Karras et al. 2018, section 4.2)."""
    return x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + 1e-8)


def upsample(x):
    """Doubles every spatial axis by linear interpolation (bilinear or trilinear).

    Separable, half-pixel centres, edges repeated: the same numbers as UpSampling2D's bilinear.
    Shape [batch, n1, .., nk, channels] -> [batch, 2 n1, .., 2 nk, channels].
    """
    for axis in range(1, len(x.shape) - 1):
        x = _upsample_axis(x, axis)
    return x


def _upsample_axis(x, axis):
    size = x.shape[axis]
    first, last = (_slice_axis(x, axis, s) for s in (slice(0, 1), slice(size - 1, size)))
    before = ops.concatenate([first, _slice_axis(x, axis, slice(0, size - 1))], axis=axis)
    after = ops.concatenate([_slice_axis(x, axis, slice(1, size)), last], axis=axis)
    even, odd = 0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after
    shape = list(x.shape)
    shape[0], shape[axis] = -1, 2 * size
    return ops.reshape(ops.stack([even, odd], axis=axis + 1), shape)


def _slice_axis(x, axis, part):
    return x[(slice(None),) * axis + (part,)]


def camera_grid(size):
    """Points of camera space at which a whole cube is sampled.

    Args:
      size: samples along each axis; depth index 0 is nearest to the camera.

    Returns:
      float32 [size^3, 3], (x right, y up, z to the camera) in [-1, 1], depth, height, width order.
    """
    fall, rise = -_centres(size), _centres(size)  # z and y fall as their index grows
    z, y, x = np.meshgrid(fall, fall, rise, indexing="ij")
    return np.stack([x, y, z], axis=-1).reshape(-1, 3).astype("float32")


def ball_rays(rays, samples, distance=0.0, reach=1.0):
    """Sample points along the camera's rays, where they cross the unit ball.

    The ball looks the same from every viewpoint, so nothing outside it need be turned or drawn.

    Args:
      rays: pixels along each side of the picture.
      samples: points on each ray's chord, front to back, in the middle of equal pieces.
      distance: of the camera from the centre in ball radii, above 1; 0 for parallel rays.
      reach: half width of the picture in ball radii, at the ball's centre.

    Returns:
      (points float32 [samples * hits, 3], piece length float32 [hits], pixel int32
      [rays * rays]: which hit a pixel is, or `hits` where its ray misses the ball).
    """
    y, x = np.meshgrid(-reach * _centres(rays), reach * _centres(rays), indexing="ij")
    plane = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3)
    if distance:
        along = plane - [0.0, 0.0, distance]
        along /= np.linalg.norm(along, axis=-1, keepdims=True)
    else:
        along = np.broadcast_to([0.0, 0.0, -1.0], plane.shape)
    middle = plane - np.sum(plane * along, axis=-1, keepdims=True) * along
    half_squared = 1.0 - np.sum(middle**2, axis=-1)
    hit = half_squared > 0
    half = np.sqrt(half_squared[hit])
    places = _centres(samples)[:, None, None] * half[None, :, None]
    points = middle[hit][None] + places * along[hit][None]  # [samples, hits, 3]
    pixel = np.where(hit, np.cumsum(hit) - 1, hit.sum()).astype("int32")
    piece = (2.0 * half / samples).astype("float32")
    return points.reshape(-1, 3).astype("float32"), piece, pixel


def _centres(count):
    return (np.arange(count) + 0.5) / count * 2.0 - 1.0


@fused
def rotate_volume(volume, angles_rad, grid):
    """Turns a feature volume by the viewpoint: trilinear samples at R . grid, zero outside.

    The eight neighbours of a voxel are laid side by side first, so that a sample is one
    contiguous gather. Differentiable in the volume and, through the weights, in the angles.

    Args:
      volume: [batch, depth, height, width, channels], axes as `camera_grid`'s.
      angles_rad: [batch, 3].
      grid: [points, 3] from `camera_grid`.

    Returns:
      [batch, points, channels].
    """
    size, channels = volume.shape[1:4], volume.shape[4]
    rotation = ops.cast(viewpoint.rotation_matrix(angles_rad), "float32")
    points = ops.einsum("bij,pj->bpi", rotation, ops.convert_to_tensor(grid))
    # Object-space (x, y, z) to fractional (depth, height, width) indices of the padded volume.
    signs = np.array([-1.0, -1.0, 1.0], "float32")
    half = np.array(size, "float32") / 2.0
    index = points[..., ::-1] * (signs * half) + (half + 0.5)
    index = ops.clip(index, 0.0, np.array(size, "float32") + 1.0)
    corner = ops.minimum(ops.floor(index), np.array(size, "float32"))
    fraction = ops.cast(index - corner, volume.dtype)
    corner = ops.cast(corner, "int32")
    stride = np.array([(size[1] + 1) * (size[2] + 1), size[2] + 1, 1], "int32")
    cells = (size[0] + 1) * (size[1] + 1) * (size[2] + 1)
    batch = ops.shape(volume)[0]
    flat = ops.sum(corner * stride, axis=-1) + ops.arange(batch, dtype="int32")[:, None] * cells
    rows = ops.reshape(_neighbours(volume), (-1, 8 * channels))
    picked = ops.take(rows, ops.reshape(flat, (-1,)), axis=0)
    points_count = grid.shape[0]
    picked = ops.reshape(picked, (-1, points_count, 8, channels))
    return ops.sum(picked * _trilinear_weights(fraction)[..., None], axis=2)


def _neighbours(volume):
    """[batch, d, h, w, c] -> [batch, d+1, h+1, w+1, 8 c]: each cell's corners, zero outside."""
    size = volume.shape[1:4]
    padded = ops.pad(volume, [[0, 0], [1, 1], [1, 1], [1, 1], [0, 0]])
    corners = [
        padded[:, i : i + size[0] + 1, j : j + size[1] + 1, k : k + size[2] + 1]
        for i in (0, 1)
        for j in (0, 1)
        for k in (0, 1)
    ]
    return ops.concatenate(corners, axis=-1)


def _trilinear_weights(fraction):
    """[batch, points, 3] -> [batch, points, 8], corners in the order of `_neighbours`."""
    sides = ops.stack([1.0 - fraction, fraction], axis=-1)  # [batch, points, 3, 2]
    d, h, w = sides[:, :, 0], sides[:, :, 1], sides[:, :, 2]
    plane = d[..., :, None] * h[..., None, :]
    cube = plane[..., :, :, None] * w[..., None, None, :]
    return ops.reshape(cube, (-1, fraction.shape[1], 8))


def composite(density, features):
    """Alpha compositing front to back along axis 1 (Max 1995; NeRF equation 3).

    Args:
      density: non-negative optical depth of each sample, [batch, samples, rays, 1].
      features: [batch, samples, rays, channels].

    Returns:
      (features [batch, rays, channels], each weighted by its visibility, not divided by the
      weights' sum; opacity [batch, rays, 1] in [0, 1]).
    """
    behind = ops.cumsum(density, axis=1)
    transmittance = ops.exp(density - behind)  # of all that lies in front of the sample
    weights = transmittance * (1.0 - ops.exp(-density))
    return ops.sum(weights * features, axis=1), ops.sum(weights, axis=1)
