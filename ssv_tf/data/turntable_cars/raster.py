"""A z-buffer rasteriser without a loop over triangles. NumPy only."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Fragments:
    """The front-most surface at every covered pixel.

    Attributes:
      pixels: [n] flat pixel numbers (row * size + column).
      triangles: [n] triangle seen there.
      weights: [n, 3] of the triangle's corners, correct in perspective; they add to 1.
    """

    pixels: np.ndarray
    triangles: np.ndarray
    weights: np.ndarray


def rasterise(
    points: np.ndarray, depths: np.ndarray, triangles: np.ndarray, size: int
) -> Fragments:
    """Finds what is seen at the centre of every pixel of a square picture.

    Args:
      points: [V, 2] picture positions in pixels, x right, y down, pixel centres at halves.
      depths: [V] distance along the view axis, positive.
      triangles: [T, 3] vertex numbers; those that run counter-clockwise on the picture (as seen
        with y up) face the camera, the others are left out.
      size: pixels of a side.
    """
    corners = points[triangles]  # [T, 3, 2]
    first, second, third = corners[:, 0], corners[:, 1], corners[:, 2]
    # y runs down, so a counter-clockwise triangle has a negative area here.
    area = _cross(second - first, third - first)
    low = np.clip(np.ceil(corners.min(axis=1) - 0.5), 0, size).astype(np.int64)
    high = np.clip(np.floor(corners.max(axis=1) - 0.5), -1, size - 1).astype(np.int64)
    spans = np.maximum(high - low + 1, 0)
    spans[area > -1e-9] = 0
    owner, column, row = _boxes(low, spans)
    weights = _barycentric(corners, area, owner, column + 0.5, row + 0.5)
    inside = weights.min(axis=1) >= 0
    owner, weights = owner[inside], weights[inside]
    pixels = row[inside] * size + column[inside]
    weights = weights / depths[triangles][owner]
    nearness = weights.sum(axis=1)  # 1 / depth
    return _front_most(pixels, owner, weights / nearness[:, None], nearness, size)


def _cross(a, b):
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _boxes(low, spans):
    """Every pixel of every triangle's bounding box, one after the other."""
    counts = spans[:, 0] * spans[:, 1]
    owner = np.repeat(np.arange(len(counts)), counts)
    start = np.cumsum(counts) - counts
    index = np.arange(len(owner)) - start[owner]
    row, column = np.divmod(index, spans[owner, 0])
    return owner, column + low[owner, 0], row + low[owner, 1]


def _barycentric(corners, area, owner, x, y):
    """Weights of the corners at (x, y), each an affine function of the place: [n, 3]."""
    following, last = np.roll(corners, -1, axis=1), np.roll(corners, -2, axis=1)
    edge = (last - following) / area[:, None, None].clip(max=-1e-12)
    offset = -_cross(edge, following)
    # cross(edge, point - following) = edge_x * y - edge_y * x + offset
    return edge[..., 0][owner] * y[:, None] - edge[..., 1][owner] * x[:, None] + offset[owner]


def _front_most(pixels, owner, weights, nearness, size):
    nearest = np.zeros(size * size)
    np.maximum.at(nearest, pixels, nearness)
    candidates = np.flatnonzero(nearness >= nearest[pixels])
    _, unique = np.unique(pixels[candidates], return_index=True)
    front = candidates[unique]
    return Fragments(pixels[front], owner[front], weights[front])
