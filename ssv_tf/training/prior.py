"""A prior of viewpoints that follows the collection: a histogram for each angle, learnt.

V's realness at its optimum is the log ratio of real and drawn densities (Goodfellow et al. 2014,
proposition 1). So where S draws a viewpoint too often its pictures score lower on average, and the
histogram moves by mirror ascent: log p(bin) += rate * (mean realness of the bin - overall mean).
Backend-neutral; an engine keeps the histogram and applies the change.
"""

import math

import numpy as np
from keras import ops

from ssv_tf.base.types import Tensor
from ssv_tf.models import encoding

BINS = 24
_MOST = math.log(4.0)  # no bin is drawn more or less than four times as often as a uniform prior's


def start(front_share: float = 0.5) -> Tensor:
    """Log densities relative to a uniform prior, [3, BINS].

    Of a collection that shows one end of the object more often than the other, a uniform prior
    is a wrong one, and S can follow it only by drawing the frequent end on both sides. So the
    azimuth may start as a von Mises distribution around the front instead.

    Args:
      front_share: probability of the azimuths within 90 degrees of the front; other than 0.5 it
        means the full circle.
    """
    log_density = np.zeros((3, BINS), "float32")
    if front_share == 0.5:
        return ops.convert_to_tensor(log_density)
    azimuth = math.pi * ((2 * np.arange(BINS) + 1) / BINS - 1)
    low, high = -10.0, 10.0
    while high - low > 1e-6:  # the concentration that has this share, by bisection
        middle = 0.5 * (low + high)
        density = np.exp(middle * np.cos(azimuth))
        below = density[np.cos(azimuth) > 0].sum() < front_share * density.sum()
        low, high = (middle, high) if below else (low, middle)
    log_density[0] = np.log(density / density.mean())
    return ops.convert_to_tensor(log_density)


def sample(share: Tensor, log_density: Tensor) -> Tensor:
    """Inverse of the cumulative histogram.

    Args:
      share: uniform numbers in [0, 1], [batch, 3].
      log_density: [3, BINS].

    Returns:
      where in its range each angle lies, [batch, 3] in [0, 1].
    """
    probability = _probability(log_density)
    above = ops.cumsum(probability, axis=-1)
    index = ops.sum(ops.cast(share[..., None] >= above[None, :, :-1], "int32"), axis=-1)
    in_bin = ops.one_hot(index, BINS, dtype=probability.dtype)  # [batch, 3, BINS]
    width = ops.sum(in_bin * probability, axis=-1)
    below = ops.sum(in_bin * (above - probability), axis=-1)
    inside = ops.clip((share - below) / width, 0.0, 1.0)
    return (ops.cast(index, share.dtype) + inside) / BINS


def change(share: Tensor, realness: Tensor, log_density: Tensor, mirrored: bool) -> Tensor:
    """What the realness of one batch says about the log densities, before the rate.

    Args:
      share: where in their ranges the drawn angles lie, [batch, 3].
      realness: of the pictures drawn, [batch, 1].
      log_density: [3, BINS] they were drawn with.
      mirrored: whether the collection is trained on with its mirror images, which makes the
        densities of azimuth and tilt even.

    Returns:
      [3, BINS].
    """
    index = ops.clip(ops.cast(share * BINS, "int32"), 0, BINS - 1)
    in_bin = ops.one_hot(index, BINS, dtype=log_density.dtype)
    better = ops.stop_gradient(realness - ops.mean(realness))[:, :, None]
    total = ops.mean(in_bin * better, axis=0) / _probability(log_density)
    return encoding.even_where_mirrored(total) if mirrored else total


def moved(log_density: Tensor, change_of: Tensor, rate: float) -> Tensor:
    """The log densities after a step, normalised and bounded."""
    log_density = log_density + rate * change_of
    log_density = log_density - ops.log(ops.mean(ops.exp(log_density), axis=-1, keepdims=True))
    return ops.clip(log_density, -_MOST, _MOST)


def _probability(log_density: Tensor) -> Tensor:
    return ops.softmax(log_density, axis=-1)
