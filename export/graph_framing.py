"""`Framing.read` and `Framing.fit` in a TensorFlow graph, for servers that are sent picture files.

Pillow's arithmetic is repeated: its resampling, its box average and its blur, rounded where it
rounds. Tests hold it to `Framing.fit`.
"""

import math

import tensorflow as tf

from ssv_tf.data.framing import BLUR_SHARE, Framing
from ssv_tf.data.reading import MID_GREY
from ssv_tf.export.graph_decoding import decode_picture

_MID_GREY = float(MID_GREY)
_BLUR_PASSES = 3  # box blurs a direction that Pillow makes a Gaussian of
_FIXED_POINT = 2.0**24  # of their weights


def read_square(content: tf.Tensor, framing: Framing) -> tf.Tensor:
    """`Framing.read` in the graph: encoded bytes -> float32 [r, r, 3], whole numbers in 0..255."""
    return fit_square(decode_picture(content, framing.shortest), framing)


def fit_square(picture: tf.Tensor, framing: Framing) -> tf.Tensor:
    """`Framing.fit` in the graph: [h, w, 3] in 0..255 -> float32 [r, r, 3], whole numbers.

    Args:
      picture: uint8, or float32 with whole numbers.
      framing: of the square; r is its resolution.
    """
    resolution = framing.resolution
    picture = _shrink(picture, framing)
    side = _square_side(*_size(picture), framing)
    picture = _middle(picture, side)
    height, width = _size(picture)
    rows, columns = (
        tf.cast(tf.maximum(tf.math.ceil((side - length) / 2), 0), tf.int32)
        for length in (height, width)
    )
    if framing.padding != "constant":
        padded = _pad(picture, rows, columns, framing.padding)
        if framing.padding == "blur":
            padded = _sharp_inside(_blurred(padded), picture, rows, columns)
        picture, rows, columns = padded, tf.constant(0), tf.constant(0)
    square = _lanczos(_turned(picture), columns, side, resolution)
    square = _lanczos(_turned(square), rows, side, resolution)
    return tf.ensure_shape(square, (resolution, resolution, 3))


def _size(picture: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    height, width = tf.unstack(tf.cast(tf.shape(picture)[:2], tf.float32))
    return height, width


def _square_side(height: tf.Tensor, width: tf.Tensor, framing: Framing) -> tf.Tensor:
    longest = framing.crop == "longest"
    return tf.maximum(height, width) if longest else framing.canvas_heights * height


def _shrink(picture: tf.Tensor, framing: Framing) -> tf.Tensor:
    """Box average of a picture whose square is far larger than the result, as Pillow's BOX."""
    height, width = _size(picture)
    scale = framing.working_side / _square_side(height, width, framing)

    def shrunk():
        return _box_average(_turned(_box_average(_turned(picture), scale)), scale)

    return tf.cond(scale >= 1, lambda: tf.cast(picture, tf.float32), shrunk)


def _middle(picture: tf.Tensor, side: tf.Tensor) -> tf.Tensor:
    """Without columns far from the square, as `Framing.fit`: a blur depends on the width."""
    width = tf.shape(picture)[1]
    surplus = tf.maximum(0, width - 3 * tf.cast(tf.math.ceil(side), tf.int32) - 64) // 2
    return picture[:, surplus : width - surplus]


def _turned(picture: tf.Tensor) -> tf.Tensor:
    """Rows and columns change places."""
    return tf.transpose(picture, (1, 0, 2))


def _box_average(picture: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Fewer rows, each the mean of those whose centres lie within it, rounded."""
    length, _ = _size(picture)
    new_length = tf.maximum(tf.round(length * scale), 1)
    centres = (tf.range(length) + 0.5) * (new_length / length)
    into = tf.cast(tf.math.ceil(centres), tf.int32) - 1
    return _rounded(tf.math.segment_mean(tf.cast(picture, tf.float32), into))


def _lanczos(picture: tf.Tensor, margin: tf.Tensor, side: tf.Tensor, size: int) -> tf.Tensor:
    """Rows resampled as Pillow's resize does it, of a picture that lies on grey.

    Args:
      picture: float32 [h, w, 3].
      margin: rows of mid-grey above and below it, int32.
      side: rows in the middle that are resampled, with a fraction; at most h + 2 margin.
      size: how many come of them.

    Returns:
      float32 [size, w, 3], whole numbers in 0..255.
    """
    length = tf.shape(picture)[0]
    scale = side / size
    middle = tf.cast(length, tf.float32) / 2
    centres = middle - side / 2 + (tf.range(size, dtype=tf.float32) + 0.5) * scale
    rows = tf.cast(tf.range(-margin, length + margin), tf.float32) + 0.5
    away = (rows[None] - centres[:, None]) / tf.maximum(scale, 1.0)
    weights = tf.where(tf.abs(away) < 3, _sinc(away) * _sinc(away / 3), 0.0)
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    weights = weights[:, margin : margin + length]
    grey = _MID_GREY * (1.0 - tf.reduce_sum(weights, axis=1))
    resampled = _of_rows(weights, picture) + grey[:, None, None]
    return _rounded(tf.clip_by_value(resampled, 0.0, 255.0))


def _rounded(x: tf.Tensor) -> tf.Tensor:
    """To whole numbers, halves up as Pillow has them; `tf.round` takes them to even ones."""
    return tf.floor(x + 0.5)


def _sinc(x: tf.Tensor) -> tf.Tensor:
    turns = math.pi * tf.where(tf.equal(x, 0.0), 1e-6, x)
    return tf.sin(turns) / turns


def _of_rows(weights: tf.Tensor, picture: tf.Tensor) -> tf.Tensor:
    """Weighted sums of rows: [n, h] and [h, w, c] -> [n, w, c]."""
    height, width, channels = tf.unstack(tf.shape(picture))
    flat = tf.matmul(weights, tf.reshape(picture, (height, width * channels)))
    return tf.reshape(flat, (-1, width, channels))


def _pad(picture: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor, padding: str) -> tf.Tensor:
    """[h, w, 3] -> [h + 2 rows, w + 2 columns, 3], with what lies at its edges."""
    for axis, count in enumerate((rows, columns)):
        length = tf.shape(picture)[axis]
        source = tf.range(-count, length + count)
        if padding == "reflect":
            period = tf.maximum(2 * (length - 1), 1)
            turned = tf.math.floormod(source, period)
            source = tf.minimum(turned, period - turned)
        picture = tf.gather(picture, tf.clip_by_value(source, 0, length - 1), axis=axis)
    return picture


def _sharp_inside(
    blurred: tf.Tensor, picture: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor
) -> tf.Tensor:
    """The picture itself where it lies in its blurred padding."""
    widths = tf.stack([[rows, rows], [columns, columns], [0, 0]])
    inside = tf.pad(tf.ones_like(picture[..., :1]), widths) > 0
    return tf.where(inside, tf.pad(picture, widths), blurred)


def _blurred(picture: tf.Tensor) -> tf.Tensor:
    """Pillow's GaussianBlur of [h, w, 3], with a deviation of BLUR_SHARE of the longest side."""
    height, width = tf.unstack(tf.shape(picture)[:2])
    radius = _box_radius(BLUR_SHARE * tf.cast(tf.maximum(height, width), tf.float64))
    for length in (width, height):
        picture = _turned(picture)
        weights = _blur_weights(length, radius)
        for _ in range(_BLUR_PASSES):
            picture = _rounded(_of_rows(weights, picture))
    return picture


def _box_radius(deviation: tf.Tensor) -> tf.Tensor:
    """Radius of the box, with a fraction, of which three passes have this deviation."""
    variance = tf.square(deviation) / _BLUR_PASSES
    whole = tf.floor((tf.sqrt(12.0 * variance + 1.0) - 1.0) / 2.0)
    part = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance)
    return whole + part / (6.0 * (variance - tf.square(whole + 1.0)))


def _blur_weights(length: tf.Tensor, radius: tf.Tensor) -> tf.Tensor:
    """[length, length]: row o averages the pixels around o; beyond an end that end counts again."""
    whole = tf.floor(radius)
    inner = tf.floor(_FIXED_POINT / (2.0 * radius + 1.0))
    outer = tf.floor((_FIXED_POINT - (2.0 * whole + 1.0) * inner) / 2.0)

    def beyond(steps):
        """Weight of all places at least so many steps, 0 or more, to one side."""
        return inner * tf.maximum(whole - steps + 1.0, 0.0) + tf.where(
            steps <= whole + 1.0, outer, 0.0
        )

    position = tf.range(tf.cast(length, tf.float64), dtype=tf.float64)
    away = tf.abs(position[:, None] - position[None])
    weights = beyond(away) - beyond(away + 1.0)
    first, last = beyond(position), beyond(position[::-1])
    weights = tf.concat([first[:, None], weights[:, 1:-1], last[:, None]], axis=1)
    # Of a single pixel, both ends are itself.
    weights = tf.cond(
        length > 1, lambda: weights, lambda: tf.constant([[_FIXED_POINT]], tf.float64)
    )
    return tf.cast(weights / _FIXED_POINT, tf.float32)
