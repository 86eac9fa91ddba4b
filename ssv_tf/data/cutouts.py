"""Pictures of objects cut out on black, and what is put behind them.

A network that learns on cut-outs alone learns black as well. With other pictures behind them it
has to look at the object. Needs NumPy and Pillow only.
"""

import os

import numpy as np
from PIL import Image

from ssv_tf.data.framing import Framing
from ssv_tf.data.reading import read_picture

_BLACK = 14  # brightest channel of a background pixel; JPEG leaves a little noise
_LEAST_SHARE = 0.05  # of the picture that must be background for it to count as a cut-out


def background(picture: np.ndarray) -> np.ndarray:
    """Which pixels are background: black, and joined to the border by black pixels.

    Args:
      picture: uint8 [H, W, 3].

    Returns:
      bool [H, W]; all False where hardly any of the picture is background, so it is no cut-out.
    """
    black = np.pad(picture.max(axis=-1) <= _BLACK, 1, constant_values=True)
    reached = np.zeros_like(black)
    reached[[0, -1]] = reached[:, [0, -1]] = True
    while True:  # each pass goes along whole rows and columns; a few reach every corner
        before = reached.sum()
        for axis in (0, 1):
            for flip in (False, True):
                reached = _spread(reached, black, axis, flip)
        if reached.sum() == before:
            break
    result = reached[1:-1, 1:-1]
    return result if result.mean() >= _LEAST_SHARE else np.zeros_like(result)


def _spread(reached: np.ndarray, black: np.ndarray, axis: int, flip: bool) -> np.ndarray:
    """Carries `reached` along one direction, as far as `black` goes."""
    order = slice(None, None, -1) if flip else slice(None)
    along = (order, slice(None)) if axis == 0 else (slice(None), order)
    seen, free = reached[along], black[along]
    index = np.arange(seen.shape[axis]).reshape((-1, 1) if axis == 0 else (1, -1))
    last_seen = np.maximum.accumulate(np.where(seen, index, -1), axis=axis)
    last_wall = np.maximum.accumulate(np.where(free, -1, index), axis=axis)
    spread = np.empty_like(reached)
    spread[along] = seen | (free & (last_seen > last_wall))
    return spread


def layer(source: str | os.PathLike | np.ndarray, side: int) -> np.ndarray:
    """A picture in the middle of a transparent square, scaled by its longest side.

    Args:
      source: a file, or uint8 [H, W, 3].
      side: of the square in pixels.

    Returns:
      uint8 [side, side, 4]: red, green, blue, and opacity: 0 beside the picture and, where it is
      a cut-out on black, on its background.

    Raises:
      reading.BadPicture: a file that cannot be read.
    """
    picture = source if isinstance(source, np.ndarray) else read_picture(source)
    opacity = np.where(background(picture), 0, 255).astype(np.uint8)
    scale = side / max(picture.shape[:2])
    height, width = (max(1, round(scale * length)) for length in picture.shape[:2])
    square = np.zeros((side, side, 4), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    inner = square[top : top + height, left : left + width]
    parts: tuple[tuple[slice | int, np.ndarray], ...] = ((slice(3), picture), (3, opacity))
    for channels, values in parts:
        small = Image.fromarray(values).resize((width, height), Image.Resampling.BOX)
        inner[..., channels] = np.asarray(small)
    return square


def box(layers: np.ndarray) -> np.ndarray:
    """Where the object lies: [n, S, S, 4] -> float32 [n, 4], top, left, bottom, right in pixels."""
    opaque: np.ndarray = layers[..., 3] > 127
    rows, columns = (_extent(np.any(opaque, axis=axis)) for axis in (2, 1))
    return np.stack([rows, columns], axis=-1).reshape(len(layers), 4)


def _extent(occupied: np.ndarray) -> np.ndarray:
    """First and one past the last True of every row: bool [n, S] -> float32 [n, 2]."""
    size = occupied.shape[1]
    first = occupied.argmax(axis=1)
    last = size - occupied[:, ::-1].argmax(axis=1)
    empty = ~occupied.any(axis=1)
    return np.stack([np.where(empty, 0, first), np.where(empty, size, last)], axis=1).astype("f4")


def over(layers: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Layers [n, S, S, 4] over backgrounds [n, S, S, 3], all uint8 -> uint8 [n, S, S, 3]."""
    opacity = layers[..., 3:].astype(np.float32) / 255.0
    mixed = layers[..., :3] * opacity + behind * (1.0 - opacity)
    return np.round(mixed).astype(np.uint8)


def windows(squares: np.ndarray, boxes: np.ndarray, side: int) -> np.ndarray:
    """Windows of pictures, each stretched to a square.

    Args:
      squares: uint8 [n, S, S, c].
      boxes: top, left, bottom, right in pixels, [n, 4]; cut to the picture, at least a pixel wide.
      side: of the result.

    Returns:
      uint8 [n, side, side, c].
    """
    cut = np.empty((len(squares), side, side, squares.shape[-1]), np.uint8)
    inside = np.clip(boxes, 0, squares.shape[1])
    for i, (square, edges) in enumerate(zip(squares, inside, strict=True)):
        top, left, bottom, right = (float(edge) for edge in edges)
        box = left, top, max(right, left + 1.0), max(bottom, top + 1.0)
        window = Image.fromarray(square).resize((side, side), Image.Resampling.BILINEAR, box)
        cut[i] = np.asarray(window)
    return cut


def relit(
    pictures: np.ndarray, brightness: float, tint: float, rng: np.random.Generator
) -> np.ndarray:
    """Pictures [n, s, s, 3] in [-1, 1] with contrast, brightness and a tint of their own.

    Args:
      brightness, tint: standard deviations of what is added to a picture, and to each channel.

    Returns:
      float64, not cut to [-1, 1].
    """
    n = len(pictures)
    contrast = rng.uniform(0.6, 1.2, (n, 1, 1, 1))
    light = rng.normal(0.0, brightness, (n, 1, 1, 1)) + rng.normal(0.0, tint, (n, 1, 1, 3))
    return pictures * contrast + light


def framing(resolution: int) -> Framing:
    """What a network that learnt from `layer` expects: the longest side, mid-grey beside it."""
    return Framing(resolution, crop="longest", padding="constant")
