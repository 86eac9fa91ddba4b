"""Encoded pictures to pixels in a TensorFlow graph, as `reading.read_picture` has them.

What TensorFlow's decoders would read otherwise, and be silent about, is turned here or refused:
an answer that is wrong without a word is worse than none. Tests hold it to `read_picture`.
"""

from typing import NamedTuple

import tensorflow as tf

from ssv_tf.data.reading import DRAFT_SCALES, DRAFT_STRETCH, MID_GREY
from ssv_tf.export.names import MAX_PIXELS

_MID_GREY = float(MID_GREY)
_ORIENTATION = 0x0112
_SHORT, _LONG = 3, 4  # types of a TIFF entry
_HEAD = 40  # bytes that are looked at in every file
_MOST_PARTS = 10_000  # segments, chunks or blocks that are walked
_MOST_XMP = 200_000  # bytes behind EXIF in which a JPEG's XMP is looked for
_XMP_TURN = 'tiff:Orientation(?:="|>)[2-8]'
_PNG, _GIF, _BMP = 0x89, ord("G"), ord("B")


class _Reading(NamedTuple):
    """What a file says of itself.

    Attributes:
      trouble: why it is refused; empty: it can be read.
      exif: where EXIF data begin; 0: nowhere.
      in_text: why it is refused unless EXIF has an orientation; empty: it is not.
      opaque: a fourth channel is no alpha.
    """

    trouble: tf.Tensor
    exif: tf.Tensor
    in_text: tf.Tensor
    opaque: tf.Tensor


def decode_picture(content: tf.Tensor, shortest: int | None = None) -> tf.Tensor:
    """Encoded bytes -> uint8 [h, w, 3], upright; alpha is laid over mid-grey.

    Bytes that are no picture, one of more than MAX_PIXELS, or one that is not read as
    `ssv_tf.predict` reads it, are an InvalidArgumentError.

    Args:
      content: scalar string.
      shortest: a large JPEG is decoded at a half, quarter or eighth of its size, as long as both
        sides keep this many pixels; None: at full size.
    """
    is_jpeg = tf.io.is_jpeg(content)
    trouble, orientation, opaque = _looked_at(content, is_jpeg, tf.constant(MAX_PIXELS, tf.int64))
    whole = tf.debugging.Assert(tf.equal(trouble, ""), [trouble])
    with tf.control_dependencies([whole]):
        content = tf.identity(content)
    picture = tf.cond(
        is_jpeg,
        lambda: _decoded_jpeg(content, shortest),
        lambda: tf.io.decode_image(content, expand_animations=False),
    )
    picture = tf.ensure_shape(picture, (None, None, None))
    channels = tf.shape(picture)[-1]
    fourth = tf.equal(channels % 2, 0)  # grey + alpha, or RGB + alpha

    def on_grey():
        colours = tf.cast(picture[..., :-1], tf.float32)
        alpha = tf.cast(picture[..., -1:], tf.float32) / 255.0
        return tf.cast(tf.round(colours * alpha + _MID_GREY * (1.0 - alpha)), tf.uint8)

    def as_it_is():
        return picture[..., : channels - tf.cast(fourth, tf.int32)]

    has_alpha = tf.logical_and(fourth, tf.logical_not(opaque))
    colours = tf.cond(has_alpha, on_grey, as_it_is)
    grey = tf.equal(tf.shape(colours)[-1], 1)
    colours = tf.cond(grey, lambda: tf.tile(colours, (1, 1, 3)), lambda: colours)
    return _upright(tf.ensure_shape(colours, (None, None, 3)), orientation)


def _decoded_jpeg(content: tf.Tensor, shortest: int | None) -> tf.Tensor:
    """uint8 [h, w, c], scaled while it is decoded as Pillow's `draft` does it."""

    def scaled(ratio):  # "INTEGER_ACCURATE": Pillow's very bits
        return lambda: tf.io.decode_jpeg(content, ratio=ratio, dct_method="INTEGER_ACCURATE")

    if not shortest:
        return scaled(1)()
    size = tf.io.extract_jpeg_shape(content)[:2]

    def fits(ratio):  # `reading.draft_scale`
        surplus = tf.math.floormod(-size, ratio)
        return tf.reduce_all((size >= ratio * shortest) & (surplus * DRAFT_STRETCH <= size))

    return tf.case([(fits(ratio), scaled(ratio)) for ratio in DRAFT_SCALES], default=scaled(1))


@tf.function(autograph=False)  # traced once, for however many models are written
def _looked_at(
    content: tf.Tensor, is_jpeg: tf.Tensor, most_pixels: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """(why it is refused or "", EXIF's orientation from 1 to 8, a fourth channel is no alpha)."""
    padded = tf.strings.join([content, "\0" * _HEAD])
    data = tf.reshape(tf.io.decode_raw(padded, tf.uint8), [-1])
    pixels = tf.cond(is_jpeg, lambda: _jpeg_pixels(content), lambda: _other_pixels(data))
    first = data[0]
    branches = [
        (is_jpeg, lambda: _of_jpeg(data, content)),
        (tf.equal(first, _PNG), lambda: _of_png(data, content)),
        (tf.equal(first, _GIF), lambda: _of_gif(data)),
        (tf.equal(first, _BMP), lambda: _of_bmp(data)),
    ]
    usable = tf.logical_and(pixels >= 0, pixels <= most_pixels)
    reading = tf.cond(usable, lambda: tf.case(branches, default=_reading), _reading)
    orientation = tf.cond(
        reading.exif > 0, lambda: _tiff_orientation(data[reading.exif :]), lambda: tf.constant(0)
    )
    in_text = tf.where(tf.equal(orientation, 0), reading.in_text, "")
    size = tf.strings.join(["the picture is too large; pixels: ", tf.strings.as_string(pixels)])
    trouble = tf.strings.join([reading.trouble, in_text, tf.where(pixels > most_pixels, size, "")])
    trouble = tf.where(pixels < 0, "not a JPEG, PNG, GIF or BMP picture", trouble)
    known = tf.logical_and(orientation >= 1, orientation <= 8)
    return trouble, tf.where(known, orientation, 1), reading.opaque


def _reading(
    trouble: str | tf.Tensor = "",
    exif: int | tf.Tensor = 0,
    in_text: str | tf.Tensor = "",
    opaque: bool = False,
) -> _Reading:
    return _Reading(
        tf.convert_to_tensor(trouble, tf.string),
        tf.convert_to_tensor(exif, tf.int32),
        tf.convert_to_tensor(in_text, tf.string),
        tf.constant(opaque),
    )


def _refused_if(condition: tf.Tensor, why: str) -> tf.Tensor:
    return tf.where(condition, f"{why}; send it as an upright PNG", "")


def _jpeg_pixels(content: tf.Tensor) -> tf.Tensor:
    return tf.reduce_prod(tf.cast(tf.io.extract_jpeg_shape(content)[:2], tf.int64))


def _other_pixels(data: tf.Tensor) -> tf.Tensor:
    """int64 pixels that the header of a PNG, GIF or BMP file declares; of others, -1."""
    head = tf.cast(data[:26], tf.int64)
    height = _number(head, 22, 4)
    of_bmp = _number(head, 18, 4) * tf.minimum(height, 2**32 - height)  # from the top: negative
    of_gif = _number(head, 6, 2) * _number(head, 8, 2)
    of_png = _number(head, 16, 4, big=True) * _number(head, 20, 4, big=True)
    pixels = tf.constant(-1, tf.int64)
    for first, declared in ((_PNG, of_png), (_GIF, of_gif), (_BMP, of_bmp)):
        pixels = tf.where(tf.equal(head[0], first), declared, pixels)
    return pixels


def _number(
    data: tf.Tensor, start: tf.Tensor | int, count: int, big: tf.Tensor | bool = False
) -> tf.Tensor:
    """A whole number of `count` bytes at `start`; 0 beyond the end."""
    part = tf.cast(data[start : start + count], tf.int64)
    part = tf.pad(part, [[0, count - tf.shape(part)[0]]])
    powers = tf.constant([256**i for i in range(count)], tf.int64)
    return tf.reduce_sum(part * tf.where(big, powers[::-1], powers))


def _equals(data: tf.Tensor, start: tf.Tensor | int, word: bytes) -> tf.Tensor:
    part = data[start : start + len(word)]
    part = tf.pad(part, [[0, len(word) - tf.shape(part)[0]]])
    return tf.reduce_all(tf.equal(part, tf.constant(list(word), tf.uint8)))


def _occurs(content: tf.Tensor, *patterns: str) -> tf.Tensor:
    return tf.strings.regex_full_match(content, rf"(?s)\C*(?:{'|'.join(patterns)})\C*")


def _of_jpeg(data: tf.Tensor, content: tf.Tensor) -> _Reading:
    """The turn of the first EXIF segment; one that stands in XMP alone is refused."""
    length = tf.shape(data)[0]

    def goes_on(offset, exif, steps):
        inside = tf.logical_and(offset + 4 <= length, steps < _MOST_PARTS)
        return tf.reduce_all([inside, tf.equal(exif, 0), _is_segment(data, offset)])

    def step(offset, exif, steps):
        marker = data[tf.minimum(offset + 1, length - 1)]
        is_exif = tf.logical_and(tf.equal(marker, 0xE1), _equals(data, offset + 4, b"Exif\0\0"))
        bare = tf.logical_or(tf.equal(marker, 1), tf.logical_and(marker >= 0xD0, marker <= 0xD9))
        size = 2 + tf.cast(_number(data, offset + 2, 2, big=True), tf.int32)
        size = tf.where(bare, 2, size)
        size = tf.where(tf.equal(marker, 0xFF), 1, size)  # fill
        return offset + size, tf.where(is_exif, offset + 10, exif), steps + 1

    end, exif, _ = tf.while_loop(goes_on, step, [tf.constant(2), tf.constant(0), tf.constant(0)])
    # XMP stands before the scan, behind EXIF or without it.
    head = tf.strings.substr(content, 0, tf.where(exif > 0, exif + _MOST_XMP, end))
    turned = _refused_if(_occurs(head, _XMP_TURN), "a JPEG that its XMP says to turn")
    return _reading("", exif, turned)


def _is_segment(data: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    last = tf.shape(data)[0] - 1
    first, marker = data[tf.minimum(offset, last)], data[tf.minimum(offset + 1, last)]
    return tf.logical_and(tf.equal(first, 0xFF), tf.not_equal(marker, 0xDA))


def _of_png(data: tf.Tensor, content: tf.Tensor) -> _Reading:
    """The turn of an eXIf chunk; a transparent colour or a turn in text is refused."""
    key, exif = tf.cond(
        _occurs(content, "tRNS", "eXIf"),
        lambda: _png_chunks(data),
        lambda: (tf.constant(False), tf.constant(0)),
    )
    # TensorFlow reads the alpha of a palette, colour type 3.
    key = tf.logical_and(key, tf.not_equal(data[25], 3))
    in_text = _occurs(content, _XMP_TURN, "Raw profile type exif", r"XML:com\.adobe\.xmp\x00\x01")
    return _reading(
        _refused_if(key, "a PNG with one transparent colour"),
        exif,
        _refused_if(in_text, "a PNG whose text may say to turn it"),
    )


def _png_chunks(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(whether there is a tRNS chunk, where the body of an eXIf chunk begins or 0)."""
    length = tf.shape(data)[0]

    def goes_on(offset, key, exif, steps):
        return tf.logical_and(offset + 12 <= length, steps < 10 * _MOST_PARTS)

    def step(offset, key, exif, steps):
        size = tf.cast(tf.minimum(_number(data, offset, 4, big=True), 2**30), tf.int32)
        key = tf.logical_or(key, _equals(data, offset + 4, b"tRNS"))
        exif = tf.where(_equals(data, offset + 4, b"eXIf"), offset + 8, exif)
        return offset + 12 + size, key, exif, steps + 1

    start = [tf.constant(8), tf.constant(False), tf.constant(0), tf.constant(0)]
    _, key, exif, _ = tf.while_loop(goes_on, step, start)
    return key, exif


def _of_gif(data: tf.Tensor) -> _Reading:
    """A first frame that is opaque and covers the screen; others are refused."""
    flags = tf.cast(data[10], tf.int32)
    table = tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags % 8), 0)
    length = tf.shape(data)[0]

    def goes_on(offset, inside, clear, steps):
        more = tf.logical_or(inside, tf.equal(data[tf.minimum(offset, length - 1)], ord("!")))
        return tf.logical_and(tf.logical_and(more, offset + 10 < length), steps < _MOST_PARTS)

    def step(offset, inside, clear, steps):
        control = tf.logical_and(tf.logical_not(inside), _equals(data, offset, b"!\xf9\x04"))
        clear = tf.where(control, tf.equal(data[offset + 3] % 2, 1), clear)
        size = tf.where(inside, 1 + tf.cast(data[offset], tf.int32), 2)
        return offset + size, tf.not_equal(tf.where(inside, size, 2), 1), clear, steps + 1

    start = [13 + table, tf.constant(False), tf.constant(False), tf.constant(0)]
    offset, _, clear, _ = tf.while_loop(goes_on, step, start)
    in_corner = tf.equal(_number(data, offset + 1, 4), 0)
    covers = tf.logical_and(in_corner, tf.equal(_number(data, offset + 5, 4), _number(data, 6, 4)))
    odd = tf.logical_or(clear, tf.logical_not(covers))
    return _reading(_refused_if(odd, "a GIF whose first frame is transparent or smaller"))


def _of_bmp(data: tf.Tensor) -> _Reading:
    """24 or 32 bits without masks; the fourth byte is no alpha. Others are refused."""
    bits, packing = _number(data, 28, 2), _number(data, 30, 4)
    deep = tf.logical_or(tf.equal(bits, 24), tf.equal(bits, 32))
    plain = tf.logical_and(deep, tf.equal(packing, 0))
    plain = tf.logical_and(plain, _number(data, 14, 4) >= 40)
    trouble = _refused_if(tf.logical_not(plain), "a BMP with a palette, masks or an old header")
    return _reading(trouble, opaque=True)


def _tiff_orientation(data: tf.Tensor) -> tf.Tensor:
    """int32: the orientation in EXIF data, as Pillow finds it; 0 where it says none."""
    little = _equals(data, tf.constant(0), b"II*\0")
    known = tf.logical_or(little, _equals(data, tf.constant(0), b"MM\0*"))
    big = tf.logical_not(little)
    length = tf.cast(tf.shape(data)[0], tf.int64)
    directory = tf.cast(tf.minimum(_number(data, 4, 4, big=big), length), tf.int32)
    count = tf.cast(_number(data, directory, 2, big=big), tf.int32)
    space = (tf.shape(data)[0] - directory - 2) // 12
    count = tf.where(known, tf.maximum(tf.minimum(count, space), 0), 0)

    def step(entry, orientation):
        offset = directory + 2 + 12 * entry
        tag, kind = _number(data, offset, 2, big=big), _number(data, offset + 2, 2, big=big)
        short, long = (_number(data, offset + 8, size, big=big) for size in (2, 4))
        value = tf.where(tf.equal(kind, _SHORT), short, tf.where(tf.equal(kind, _LONG), long, 0))
        single = tf.equal(_number(data, offset + 4, 4, big=big), 1)
        here = tf.logical_and(tf.equal(tag, _ORIENTATION), single)
        return entry + 1, tf.where(here, tf.cast(tf.minimum(value, 2**16), tf.int32), orientation)

    start = [tf.constant(0), tf.constant(0)]
    return tf.while_loop(lambda entry, orientation: entry < count, step, start)[1]


def _upright(picture: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """The picture turned as its orientation, 1 to 8, says."""

    def any_of(*values):
        return tf.reduce_any(tf.equal(orientation, tf.constant(values)))

    # First the axes change places, then rows and columns are reversed.
    picture = tf.cond(any_of(5, 6, 7, 8), lambda: tf.transpose(picture, (1, 0, 2)), lambda: picture)
    picture = tf.cond(any_of(2, 3, 6, 7), lambda: picture[:, ::-1], lambda: picture)
    return tf.cond(any_of(3, 4, 7, 8), lambda: picture[::-1], lambda: picture)
