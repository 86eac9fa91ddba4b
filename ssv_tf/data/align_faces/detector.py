"""Faces by the package `mtcnn` (Zhang et al. 2016), whose weights come with it."""

import dataclasses
import importlib.util
from collections.abc import Callable

import numpy as np
from PIL import Image

from ssv_tf.base.errors import UserError

_SMALLEST_SIDE_PX = 24  # mtcnn fails on less, and no face would be found
_LONGEST_SIDE_PX = 1024  # a larger picture is searched in a smaller copy


@dataclasses.dataclass(frozen=True)
class Face:
    """A face that was found.

    Attributes:
      area_px: of its box.
      confidence: 0 to 1.
      landmarks_px: [5, 2], as `geometry.align` takes them.
    """

    area_px: float
    confidence: float
    landmarks_px: np.ndarray


# uint8 [H, W, 3] -> every face in the picture
Detector = Callable[[np.ndarray], list[Face]]


def check() -> None:
    """Raises UserError where the package is not installed; loads nothing."""
    if importlib.util.find_spec("mtcnn") is None:
        raise UserError("finding faces needs the package mtcnn: pip install 'ssv-tf[faces]'")


def load(threads: int | None = None) -> Detector:
    """The detector on the CPU.

    Args:
      threads: of TensorFlow, where it has not started yet; None: as it likes.

    Raises:
      UserError: the package is not installed.
    """
    check()
    from mtcnn import MTCNN

    if threads:
        _limit_threads(threads)
    network = MTCNN(device="CPU:0")

    def detect(picture: np.ndarray) -> list[Face]:
        if min(picture.shape[:2]) < _SMALLEST_SIDE_PX:
            return []
        shrunk, factor = _shrink(picture)
        # One row a face: picture, x1, y1, x2, y2, confidence, x of five landmarks, their y.
        rows = network.detect_faces(shrunk, output_type="numpy", box_format="xyxy")
        return [_face(row, factor) for row in np.asarray(rows, float).reshape(-1, 16)]

    return detect


def _limit_threads(threads: int) -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def _shrink(picture: np.ndarray) -> tuple[np.ndarray, float]:
    """The picture to search, and how many times as large the given one is."""
    factor = max(picture.shape[:2]) / _LONGEST_SIDE_PX
    if factor <= 1:
        return picture, 1.0
    height, width = (max(1, round(length / factor)) for length in picture.shape[:2])
    image = Image.fromarray(picture).resize((width, height), Image.Resampling.BOX)
    return np.asarray(image), picture.shape[1] / width


def _face(row: np.ndarray, factor: float) -> Face:
    x1, y1, x2, y2 = row[1:5] * factor
    landmarks = np.stack([row[6:11], row[11:16]], axis=-1) * factor
    return Face(float((x2 - x1) * (y2 - y1)), float(row[5]), landmarks)
