"""`Framing.fit` in a TensorFlow graph, for servers that are sent picture files.

Pillow's arithmetic is repeated: its resampling, its box average and its blur, rounded where it
rounds. Tests hold it to `Framing.fit`.
"""

import tensorflow as tf

from ssv_tf.data.framing import BLUR_SHARE, Framing
from ssv_tf.data.reading import MID_GREY

_MID_GREY = float(MID_GREY)
_BLUR_PASSES = 3  # box blurs a direction that Pillow makes a Gaussian of
_FIXED_POINT = 2.0**24  # of their weights


def fit_square(picture: tf.Tensor, framing: Framing) -> tf.Tensor:
    """`Framing.fit` in the graph: float32 [h, w, 3] -> [r, r, 3], whole numbers 0..255."""
    resolution = framing.resolution
    picture = _shrink(picture, framing)
    side = _square_side(*_size(picture), framing)
    picture = _middle(picture, side)
    height, width = _size(picture)
    rows, columns = (
        tf.cast(tf.maximum(tf.math.ceil((side - length) / 2), 0), tf.int32)
        for length in (height, width)
    )
    padded = _pad(_pad(picture, rows, 0, framing.padding), columns, 1, framing.padding)
    if framing.padding == "blur":
        padded = _sharp_inside(_blurred(padded), picture, rows, columns)
    # The square is cut out exactly, with fractions of a pixel, as the box of Pillow's resize.
    scale = resolution / side
    corner = (tf.stack(_size(padded)) - side) / 2
    square = tf.raw_ops.ScaleAndTranslate(
        images=padded[None],
        size=(resolution, resolution),
        scale=tf.stack([scale, scale]),
        translation=-corner * scale,
        kernel_type="lanczos3",
        antialias=True,
    )[0]
    square = tf.ensure_shape(square, (resolution, resolution, 3))
    return tf.round(tf.clip_by_value(square, 0.0, 255.0))


def _size(picture: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    height, width = tf.unstack(tf.cast(tf.shape(picture)[:2], tf.float32))
    return height, width


def _square_side(height: tf.Tensor, width: tf.Tensor, framing: Framing) -> tf.Tensor:
    longest = framing.crop == "longest"
    return tf.maximum(height, width) if longest else framing.canvas_heights * height


def _shrink(picture: tf.Tensor, framing: Framing) -> tf.Tensor:
    """Box average of a picture whose square is far larger than the result, as Pillow's BOX."""
    height, width = _size(picture)
    scale = framing.shortest / _square_side(height, width, framing)

    def shrunk():
        across = tf.round(tf.einsum("ox,hxc->hoc", _box_weights(width, scale), picture))
        return tf.round(tf.einsum("oy,ywc->owc", _box_weights(height, scale), across))

    return tf.cond(scale >= 1, lambda: picture, shrunk)


def _middle(picture: tf.Tensor, side: tf.Tensor) -> tf.Tensor:
    """Without columns far from the square, as `Framing.fit`: a blur depends on the width."""
    width = tf.shape(picture)[1]
    surplus = tf.maximum(0, width - 3 * tf.cast(tf.math.ceil(side), tf.int32) - 64) // 2
    return picture[:, surplus : width - surplus]


def _box_weights(length: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """[new length, length]: row o averages the pixels whose centres lie within new pixel o."""
    new_length = tf.maximum(tf.round(length * scale), 1)
    centres = (tf.range(new_length) + 0.5) * (length / new_length)
    away = (tf.range(length)[None] + 0.5 - centres[:, None]) * (new_length / length)
    inside = tf.cast(tf.logical_and(away > -0.5, away <= 0.5), tf.float32)
    return inside / tf.reduce_sum(inside, axis=1, keepdims=True)


def _pad(picture: tf.Tensor, count: tf.Tensor, axis: int, padding: str) -> tf.Tensor:
    """Adds `count` rows (axis 0) or columns (axis 1) at both ends."""
    length = tf.shape(picture)[axis]
    position = tf.range(-count, length + count)
    if padding == "reflect":
        period = tf.maximum(2 * (length - 1), 1)
        turned = tf.math.floormod(position, period)
        source = tf.minimum(turned, period - turned)
    else:
        source = tf.clip_by_value(position, 0, length - 1)
    padded = tf.gather(picture, tf.clip_by_value(source, 0, length - 1), axis=axis)
    if padding != "constant":
        return padded
    inside = tf.logical_and(position >= 0, position < length)
    return tf.where(tf.reshape(inside, (-1, 1, 1) if axis == 0 else (1, -1, 1)), padded, _MID_GREY)


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
    for _ in range(_BLUR_PASSES):
        weights = _blur_weights(width, radius)
        picture = tf.floor(tf.einsum("ox,hxc->hoc", weights, picture) + 0.5)
    for _ in range(_BLUR_PASSES):
        weights = _blur_weights(height, radius)
        picture = tf.floor(tf.einsum("oy,ywc->owc", weights, picture) + 0.5)
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
