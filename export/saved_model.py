"""SavedModel of a folded V for TF Serving: float pictures, or encoded files of any size."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from ssv_tf.base import stderr
from ssv_tf.base.errors import UserError
from ssv_tf.data.framing import Framing
from ssv_tf.data.reading import MID_GREY
from ssv_tf.export.fold import INPUT, OUTPUT, FoldedViewpoint, by_name
from ssv_tf.export.graph_framing import fit_square

JPEG_INPUT = "jpeg_bytes"
_MID_GREY = float(MID_GREY)
# A few bytes may claim to be a picture that fills the server's memory: 48 MP took 1.4 GB.
MAX_PIXELS = 50_000_000


Answers = Callable[[tf.Tensor], dict[str, tf.Tensor]]


def write(
    folded: FoldedViewpoint,
    path: str | os.PathLike,
    framing: Framing | None = None,
    answers: Answers | None = None,
) -> Path:
    """Writes the SavedModel, loads it back, compares, and only then gives it its name.

    Signatures, each answering viewpoint_deg [n, 3], azimuth_deg, elevation_deg, tilt_deg [n], and
    confidence [n, 1] where the calibration has it:
      serving_default  `picture` float32 [n, r, r, 3], RGB, 0..255.
      serving_jpeg     `jpeg_bytes` string [n]: JPEG, PNG, BMP or GIF (first frame) of any size up
                       to MAX_PIXELS. The EXIF orientation is not applied, and one unreadable
                       picture fails its whole call, as TensorFlow's decoder does.

    Args:
      folded: the model.
      path: the folder; replaced if it exists.
      framing: how serving_jpeg fits a picture into the square; None: by its longest side.
      answers: what both signatures compute of pictures [n, r, r, 3]; None: `folded`, by name.

    Raises:
      UserError: it cannot be written, or what was written answers otherwise than `folded`.
    """
    with staged_folder(path) as stage:
        with stderr.captured():
            signatures = _signatures(
                framing or Framing(folded.resolution), answers or answers_of(folded)
            )
            tf.saved_model.save(folded, str(stage), signatures=signatures)
        _check(stage, folded)
    return Path(path)


def answers_of(folded: FoldedViewpoint) -> Answers:
    """What a signature answers: the degrees together and one by one, and whatever else there is."""
    return lambda picture: by_name(folded.answers(picture))


def _signatures(framing: Framing, answers: Answers) -> dict:
    side = framing.resolution
    square = tf.TensorSpec(framing.shape, tf.float32)

    @tf.function
    def serving_default(picture):
        # A server feeds whatever it was sent: a larger picture would give several answers, and one
        # without a batch dimension end the whole server (a failed CHECK in a convolution).
        return answers(tf.ensure_shape(picture, (None, side, side, 3)))

    @tf.function
    def serving_jpeg(jpeg_bytes):
        def read(content):
            return fit_square(decode_picture(content), framing)

        return answers(tf.map_fn(read, jpeg_bytes, fn_output_signature=square))

    pictures = tf.TensorSpec((None, side, side, 3), tf.float32, name=INPUT)
    contents = tf.TensorSpec((None,), tf.string, name=JPEG_INPUT)
    return {
        "serving_default": serving_default.get_concrete_function(pictures),
        "serving_jpeg": serving_jpeg.get_concrete_function(contents),
    }


def decode_picture(content: tf.Tensor) -> tf.Tensor:
    """Encoded bytes -> float32 [h, w, 3] in 0..255; grey is tripled, alpha laid over mid-grey.

    Bytes that are no picture, or one of more than MAX_PIXELS, are an InvalidArgumentError.
    """
    is_jpeg = tf.io.is_jpeg(content)
    pixels = _declared_pixels(content, is_jpeg)
    checks = [
        tf.debugging.Assert(pixels >= 0, ["not a JPEG, PNG, GIF or BMP picture"]),
        tf.debugging.Assert(pixels <= MAX_PIXELS, ["the picture is too large; pixels:", pixels]),
    ]
    with tf.control_dependencies(checks):
        content = tf.identity(content)
    picture = tf.cond(
        is_jpeg,
        lambda: tf.io.decode_jpeg(content, dct_method="INTEGER_ACCURATE"),  # Pillow's very bits
        lambda: tf.io.decode_image(content, expand_animations=False),
    )
    picture = tf.cast(tf.ensure_shape(picture, (None, None, None)), tf.float32)
    channels = tf.shape(picture)[-1]
    has_alpha = tf.equal(channels % 2, 0)  # grey + alpha, or RGB + alpha
    colours = picture[..., : channels - tf.cast(has_alpha, tf.int32)] * tf.ones((1, 1, 3))
    alpha = tf.where(has_alpha, picture[..., -1:] / 255.0, 1.0)
    return tf.ensure_shape(colours * alpha + _MID_GREY * (1.0 - alpha), (None, None, 3))


def _declared_pixels(content: tf.Tensor, is_jpeg: tf.Tensor) -> tf.Tensor:
    """int64 pixels that the header of a JPEG, PNG, GIF or BMP file declares; of others, -1."""

    def of_jpeg():
        return tf.reduce_prod(tf.cast(tf.io.extract_jpeg_shape(content)[:2], tf.int64))

    def of_others():
        head = tf.cast(tf.io.decode_raw(content, tf.uint8, fixed_length=26), tf.int64)

        def number(start, count):  # little-endian
            return tf.reduce_sum(head[start : start + count] * [256**i for i in range(count)])

        def big_endian(start):
            return tf.reduce_sum(head[start : start + 4] * [256**i for i in (3, 2, 1, 0)])

        height = number(22, 4)
        of_bmp = number(18, 4) * tf.minimum(height, 2**32 - height)  # from the top: negative
        of_gif = number(6, 2) * number(8, 2)
        of_png = big_endian(16) * big_endian(20)
        pixels = tf.constant(-1, tf.int64)
        for first, declared in ((b"\x89", of_png), (b"G", of_gif), (b"B", of_bmp)):
            pixels = tf.where(head[0] == ord(first), declared, pixels)
        return pixels

    return tf.cond(is_jpeg, of_jpeg, of_others)


class Predictor:
    """Runs the serving_default signature of a SavedModel.

    Args:
      path: the folder.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        with stderr.captured():
            self._model = tf.saved_model.load(str(path))
        self._function = self._model.signatures["serving_default"]

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 [n, r, r, 3] -> float32 degrees [n, 3]."""
        return self.outputs(pictures)[OUTPUT]

    def outputs(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """Everything the signature answers, by name."""
        answers = self._function(**{INPUT: tf.constant(pictures, tf.float32)})
        return {name: value.numpy() for name, value in answers.items()}


def _check(path: Path, folded: FoldedViewpoint) -> None:
    """The loaded model answers like `folded`, for one picture as for three."""
    shape = (3, folded.resolution, folded.resolution, 3)
    pictures = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    loaded, expected = Predictor(path), answers_of(folded)(tf.constant(pictures))[OUTPUT].numpy()
    answers = np.concatenate([loaded(pictures[:1]), loaded(pictures[1:])])
    error_deg = np.abs((answers - expected + 180.0) % 360.0 - 180.0).max()
    if not error_deg < 0.1:
        raise UserError(
            f"the SavedModel read back is {error_deg:.2f} degrees off; nothing is written"
        )


@contextlib.contextmanager
def staged_folder(path: str | os.PathLike) -> Iterator[Path]:
    """A new folder beside `path` that takes its place at the end, or is gone after an error.

    Raises:
      UserError: the folder cannot be made or written.
    """
    path = Path(path)
    stage = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        stage.chmod(0o755)
        yield stage
        replace(stage, path)
    except (OSError, tf.errors.OpError) as error:  # a full disk is either, by who was writing
        raise UserError(f"cannot write {path}: {cause(error)}") from error
    finally:
        if stage:
            shutil.rmtree(stage, ignore_errors=True)


def cause(error: Exception) -> str:
    """Why an operating system's or TensorFlow's writing failed, without the latter's ornaments."""
    if isinstance(error, tf.errors.OpError):
        return error.message.split("; ")[-1].split(" [Op:")[0]
    return getattr(error, "strerror", None) or str(error)


def replace(source: Path, target: Path) -> None:
    """Renames a file or folder to `target`; what was there before goes, last of all."""
    if not target.is_dir():
        os.replace(source, target)
        return
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as aside:
        os.replace(target, Path(aside, target.name))
        os.replace(source, target)
