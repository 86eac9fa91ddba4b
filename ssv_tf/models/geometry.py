"""Turning a 3D feature volume and compositing it along the camera's rays. `keras.ops` only."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from ssv_tf.base.backend import keras, ops
from ssv_tf.base.types import Tensor

_CORNERS = tuple(itertools.product((0, 1), repeat=3))  # of a cell: (depth, height, width)
_PICTURES_AT_ONCE = 4  # whose gradients of all corners fit a processor's cache


def fused(function: Callable) -> Callable:
    """Compiles a chain of small operations with XLA where TensorFlow would run them one by one.

    The turned volume, its compositing and their gradients take a third of the time that way on a
    CPU. Other backends compile the whole step and get the function as it is.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)


def camera_grid(size: int) -> np.ndarray:
    """Points of camera space at which a whole cube is sampled.

    Args:
      size: samples along each axis; depth index 0 is nearest to the camera.

    Returns:
      float32 [size^3, 3], (x right, y up, z to the camera) in [-1, 1], depth, height, width order.
    """
    fall, rise = -_centres(size), _centres(size)  # z and y fall as their index grows
    z, y, x = np.meshgrid(fall, fall, rise, indexing="ij")
    return np.stack([x, y, z], axis=-1).reshape(-1, 3).astype("float32")


def ball_rays(
    rays: int, distance: float = 0.0, reach: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The camera's rays where they cross the unit ball.

    The ball looks the same from every viewpoint, so nothing outside it need be turned or drawn.

    Args:
      rays: pixels along each side of the picture.
      distance: of the camera from the centre in ball radii, above 1; 0 for parallel rays.
      reach: half width of the picture in ball radii, at the ball's centre.

    Returns:
      (middle of each chord float32 [hits, 3], direction away from the camera [hits, 3], half
      length [hits], pixel int32 [rays * rays]: which hit a pixel is, or `hits` where its ray
      misses the ball).
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
    pixel = np.where(hit, np.cumsum(hit) - 1, hit.sum()).astype("int32")
    return (
        middle[hit].astype("float32"),
        along[hit].astype("float32"),
        half.astype("float32"),
        pixel,
    )


def box_samples(
    rays: Sequence[np.ndarray], angles_rad: Tensor, samples: int, extent: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Sample points where the turned rays cross the box that the volume fills.

    Where a ray enters and leaves is found by slabs (Kay and Kajiya 1986) and held fixed in the
    gradient.

    Args:
      rays: (middle, along, half) of `ball_rays`.
      angles_rad: [batch, 3].
      samples: points on each ray, front to back, in the middle of equal pieces.
      extent: half sides (x, y, z) of the box, 1 or less.

    Returns:
      (points in object space [batch, samples * hits, 3], length of a piece [batch, hits], 0 where
      the ray misses the box).
    """
    rotation = ops.cast(rotation_matrix(angles_rad), "float32")
    middle, along, half = (ops.convert_to_tensor(part) for part in rays)
    start, direction = (ops.einsum("bij,pj->bpi", rotation, part) for part in (middle, along))
    safe = ops.where(ops.abs(direction) < 1e-6, 1e-6, direction)
    sides = np.array(extent, "float32")
    first, second = (-sides - start) / safe, (sides - start) / safe
    enter = ops.max(ops.minimum(first, second), axis=-1)
    leave = ops.min(ops.maximum(first, second), axis=-1)
    enter, leave = ops.maximum(enter, -half), ops.minimum(leave, half)
    piece = ops.stop_gradient(ops.maximum(leave - enter, 0.0) / samples)  # [batch, hits]
    enter = ops.stop_gradient(ops.minimum(enter, half))
    steps = np.arange(samples, dtype="float32")[None, :, None] + 0.5
    distance = enter[:, None] + steps * piece[:, None]  # [batch, samples, hits]
    points = start[:, None] + distance[..., None] * direction[:, None]
    return ops.reshape(points, (-1, samples * rays[2].shape[0], 3)), piece


def rotation_matrix(angles_rad: Tensor) -> Tensor:
    """R = R_az . R_el . R_tilt: camera space to object space, as `viewpoint.rotation_matrix`.

    Args:
      angles_rad: [batch, 3].

    Returns:
      [batch, 3, 3]; `R @ camera_point` is the object-space point.
    """
    (ca, ce, ct), (sa, se, st) = (
        ops.unstack(f(angles_rad), 3, axis=-1) for f in (ops.cos, ops.sin)
    )
    rows = [
        [ca * ct - sa * se * st, -ca * st - sa * se * ct, sa * ce],
        [ce * st, ce * ct, se],
        [-sa * ct - ca * se * st, sa * st - ca * se * ct, ca * ce],
    ]
    return ops.stack([ops.stack(row, axis=-1) for row in rows], axis=-2)


def _centres(count: int) -> np.ndarray:
    return (np.arange(count) + 0.5) / count * 2.0 - 1.0


@fused
def rotate_volume(volume: Tensor, angles_rad: Tensor, grid: np.ndarray) -> Tensor:
    """Turns a feature volume by the viewpoint: trilinear samples at R . grid, zero outside.

    Differentiable in the volume and, through the weights, in the angles.

    Args:
      volume: [batch, depth, height, width, channels], axes as `camera_grid`'s.
      angles_rad: [batch, 3].
      grid: [points, 3] from `camera_grid`.

    Returns:
      [batch, points, channels].
    """
    rotation = ops.cast(rotation_matrix(angles_rad), "float32")
    points = ops.einsum("bij,pj->bpi", rotation, ops.convert_to_tensor(grid))
    return sample_volume(volume, points)


def sample_volume(
    volume: Tensor, points: Tensor, extent: Sequence[float] = (1.0, 1.0, 1.0)
) -> Tensor:
    """Trilinear samples of a volume that fills a box, zero outside.

    Args:
      volume: [batch, depth, height, width, channels], axes as `camera_grid`'s.
      points: (x, y, z) in object space, [batch, points, 3].
      extent: half sides (x, y, z) of the box; 1 for the whole cube.

    Returns:
      [batch, points, channels].
    """
    return read_cells(volume, *find_cells(points, volume.shape[1:4], extent))


def find_cells(
    points: Tensor, size: Sequence[int], extent: Sequence[float] = (1.0, 1.0, 1.0)
) -> tuple[Tensor, Tensor]:
    """Between which eight voxels each point lies, and how much of each it takes.

    Args:
      points: (x, y, z) in object space, [batch, points, 3].
      size: voxels along depth, height and width.
      extent: half sides (x, y, z) of the box; 1 for the whole cube.

    Returns:
      (int32 [batch, points], the cell among those of the whole batch; trilinear weights
      [batch, points, 8], corners in the order of `_neighbours`).
    """
    # Object-space (x, y, z) to fractional (depth, height, width) indices of the padded volume.
    signs = np.array([-1.0, -1.0, 1.0], "float32")
    half = np.array(size, "float32") / 2.0
    per_unit = signs * half / np.array(extent[::-1], "float32")
    index = points[..., ::-1] * per_unit + (half + 0.5)
    index = ops.clip(index, 0.0, np.array(size, "float32") + 1.0)
    corner = ops.minimum(ops.floor(index), np.array(size, "float32"))
    fraction = index - corner
    corner = ops.cast(corner, "int32")
    stride = np.array([(size[1] + 1) * (size[2] + 1), size[2] + 1, 1], "int32")
    cells = (size[0] + 1) * (size[1] + 1) * (size[2] + 1)
    first = ops.arange(ops.shape(points)[0], dtype="int32")[:, None] * cells
    return ops.sum(corner * stride, axis=-1) + first, _trilinear_weights(fraction)


def read_cells(volume: Tensor, cells: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of the eight voxels around each point, zero outside the volume.

    Args:
      volume: [batch, depth, height, width, channels], axes as `camera_grid`'s.
      cells, weights: of `find_cells`.

    Returns:
      [batch, points, channels].
    """
    if keras.backend.backend() != "tensorflow":
        return _read(volume, cells, weights)
    return _compiled_reading()(volume, cells, weights)


def _read(volume: Tensor, cells: Tensor, weights: Tensor) -> Tensor:
    return ops.sum(_corners(volume, cells) * ops.cast(weights, volume.dtype)[..., None], axis=2)


def _corners(volume: Tensor, cells: Tensor) -> Tensor:
    """What lies at the eight corners of each point's cell, [batch, points, 8, channels].

    The neighbours of a voxel are laid side by side first, so that a point is one contiguous
    gather.
    """
    count, channels = cells.shape[1], volume.shape[4]
    rows = ops.reshape(_neighbours(volume), (-1, 8 * channels))
    picked = ops.take(rows, ops.reshape(cells, (-1,)), axis=0)
    return ops.reshape(picked, (-1, count, 8, channels))


@functools.cache
def _compiled_reading() -> Callable:
    """`_read` for TensorFlow: the gradients of volume and weights are programs of their own.

    The gradient of one compiled program works out both, and S's step never asks for that of the
    weights. Nor does it lay out a whole batch's share for each corner, which fits no cache.
    """
    import tensorflow as tf

    read = fused(_read)
    weight_gradient, volume_gradient = fused(_weight_gradient), fused(_volume_gradient)

    @tf.custom_gradient
    def reading(volume: Tensor, cells: Tensor, weights: Tensor) -> tuple[Tensor, Callable]:
        def gradients(upstream: Tensor) -> tuple[Tensor, None, Tensor]:
            of_volume = volume_gradient(upstream, cells, weights, tuple(volume.shape[1:4]))
            return of_volume, None, weight_gradient(upstream, volume, cells)

        return read(volume, cells, weights), gradients

    return reading


def _weight_gradient(upstream: Tensor, volume: Tensor, cells: Tensor) -> Tensor:
    return ops.cast(ops.sum(upstream[:, :, None] * _corners(volume, cells), axis=-1), "float32")


def _volume_gradient(
    upstream: Tensor, cells: Tensor, weights: Tensor, size: Sequence[int]
) -> Tensor:
    """The adjoint of `_read`, a few pictures at a time; size: (depth, height, width)."""
    channels, padded = upstream.shape[2], tuple(side + 1 for side in size)
    group = math.gcd(upstream.shape[0] or 1, _PICTURES_AT_ONCE)
    rows = group * math.prod(padded)
    weights = ops.cast(weights, upstream.dtype)
    cells, weights, upstream = (
        ops.reshape(part, (-1, group, *part.shape[1:])) for part in (cells, weights, upstream)
    )

    def add(index: Tensor, sums: Tensor) -> Tensor:
        share = upstream[index][:, :, None] * weights[index][..., None]
        into = ops.reshape(cells[index] - index * rows, (-1, 1))
        added = ops.scatter(into, ops.reshape(share, (-1, 8 * channels)), (rows, 8 * channels))
        return ops.slice_update(sums, [index, 0, 0], added[None])

    groups = ops.shape(upstream)[0]
    sums = ops.zeros((groups, rows, 8 * channels), upstream.dtype)
    sums = ops.reshape(ops.fori_loop(0, groups, add, sums), (-1, *padded, 8, channels))
    return _from_neighbours(sums)


def _neighbours(volume: Tensor) -> Tensor:
    """[batch, d, h, w, c] -> [batch, d+1, h+1, w+1, 8 c]: each cell's corners, zero outside."""
    size = volume.shape[1:4]
    padded = ops.pad(volume, [[0, 0], [1, 1], [1, 1], [1, 1], [0, 0]])
    corners = [
        padded[:, i : i + size[0] + 1, j : j + size[1] + 1, k : k + size[2] + 1]
        for i, j, k in _CORNERS
    ]
    return ops.concatenate(corners, axis=-1)


def _from_neighbours(corners: Tensor) -> Tensor:
    """The adjoint of `_neighbours`: [batch, d+1, h+1, w+1, 8, c] -> [batch, d, h, w, c]."""
    moved = [
        ops.pad(corners[..., n, :], [[0, 0], *[[at, 1 - at] for at in corner], [0, 0]])
        for n, corner in enumerate(_CORNERS)
    ]
    return sum(moved[1:], moved[0])[:, 1:-1, 1:-1, 1:-1]


def _trilinear_weights(fraction: Tensor) -> Tensor:
    """[batch, points, 3] -> [batch, points, 8], corners in the order of `_neighbours`."""
    sides = ops.stack([1.0 - fraction, fraction], axis=-1)  # [batch, points, 3, 2]
    d, h, w = sides[:, :, 0], sides[:, :, 1], sides[:, :, 2]
    plane = d[..., :, None] * h[..., None, :]
    cube = plane[..., :, :, None] * w[..., None, None, :]
    return ops.reshape(cube, (-1, fraction.shape[1], 8))


def composite(density: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
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
