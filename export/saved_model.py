"""SavedModel of a folded V for TF Serving: float pictures, or encoded files of any size."""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from ssv_tf.base import stderr
from ssv_tf.base.errors import UserError
from ssv_tf.data.framing import Framing
from ssv_tf.export.fold import INPUT, OUTPUT, FoldedViewpoint, by_name
from ssv_tf.export.graph_framing import read_square

JPEG_INPUT = "jpeg_bytes"

Answers = Callable[[tf.Tensor], dict[str, tf.Tensor]]


def write(
    folded: FoldedViewpoint,
    path: str | os.PathLike,
    framing: Framing | None = None,
    answers: Answers | None = None,
) -> Path:
    """Writes the SavedModel, loads it back, compares, and only then gives it its name.

    Signatures, each answering viewpoint_deg [n, 3], azimuth_deg, elevation_deg, tilt_deg [n], and
    confidence and novelty [n, 1] where the calibration has them:
      serving_default  `picture` float32 [n, r, r, 3], RGB, 0..255.
      serving_jpeg     `jpeg_bytes` string [n]: JPEG, PNG, BMP or GIF (first frame) of any size up
                       to names.MAX_PIXELS, turned as EXIF says. A picture that cannot be
                       read, or not as `ssv_tf.predict` reads it, fails its whole call.

    Args:
      folded: the model.
      path: the folder; replaced if it exists.
      framing: how serving_jpeg fits a picture into the square; None: by its longest side.
      answers: what both signatures compute of pictures [n, r, r, 3], with constant weights; None:
        `folded`, by name.

    Raises:
      UserError: it cannot be written, or what was written answers otherwise than `folded`.
    """
    with staged_folder(path) as stage:
        with stderr.captured():
            signatures = _signatures(
                framing or Framing(folded.resolution), answers or answers_of(folded)
            )
            kept = tf.Module() if answers else folded
            tf.saved_model.save(kept, str(stage), signatures=signatures)
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
            return read_square(content, framing)

        return answers(tf.map_fn(read, jpeg_bytes, fn_output_signature=square))

    pictures = tf.TensorSpec((None, side, side, 3), tf.float32, name=INPUT)
    contents = tf.TensorSpec((None,), tf.string, name=JPEG_INPUT)
    return {
        "serving_default": serving_default.get_concrete_function(pictures),
        "serving_jpeg": serving_jpeg.get_concrete_function(contents),
    }


class Refused(Exception):
    """Files that serving_jpeg does not read; the message is its reason."""


class Predictor:
    """Runs the signatures of a SavedModel.

    Args:
      path: the folder.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        with stderr.captured():
            self._model = tf.saved_model.load(str(path))
        self._function = self._model.signatures["serving_default"]
        self._of_files = self._model.signatures["serving_jpeg"]

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 [n, r, r, 3] -> float32 degrees [n, 3]."""
        return self.outputs(pictures)[OUTPUT]

    def outputs(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """Everything the signature answers, by name."""
        answers = self._function(**{INPUT: tf.constant(pictures, tf.float32)})
        return {name: value.numpy() for name, value in answers.items()}

    def of_files(self, contents: Sequence[bytes]) -> dict[str, np.ndarray]:
        """What serving_jpeg answers for encoded pictures, by name.

        Raises:
          Refused: it does not read one of them.
        """
        try:
            answers = self._of_files(**{JPEG_INPUT: tf.constant(list(contents))})
        except tf.errors.InvalidArgumentError as error:
            raise Refused(_refusal(error.message)) from None
        return {name: value.numpy() for name, value in answers.items()}


def _refusal(message: str) -> str:
    """The reason of a failed assertion, without the place in the graph."""
    match = re.search(r"\[([^\[\]]+)\]", message)
    return match[1].strip(" '\"") if match else message.splitlines()[0]


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
