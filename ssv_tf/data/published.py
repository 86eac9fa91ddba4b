"""What the builders of published data sets share: features, crops, mat files, Beam."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from etils import epath
from PIL import Image

from ssv_tf.data import folder

FACE_SIDE_PX = 256  # of stored faces; they are made smaller where they are read
_FACE_MARGIN = 1.4  # side of a face's square over the longer side of its landmarks' box
# Points of the 68 that stand for both eyes, nose and corners of the mouth, at image left first.
_FIVE_OF_68 = (range(36, 42), range(42, 48), (30,), (48,), (54,))

Example = tuple[str, dict[str, Any]]


def features(**more: Any) -> tfds.features.FeaturesDict:
    """A picture, its name, the three angles, and `more`."""
    angle = tfds.features.Scalar(np.float32)
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "filename": tfds.features.Text(),
            "azimuth_deg": angle,
            "elevation_deg": angle,
            "tilt_deg": angle,
            **more,
        }
    )


def angles(viewpoint_deg: np.ndarray) -> dict[str, np.float32]:
    """The three angles [3] under the names of `features`."""
    azimuth, elevation, tilt = np.asarray(viewpoint_deg, np.float32)
    return {"azimuth_deg": azimuth, "elevation_deg": elevation, "tilt_deg": tilt}


def each(jobs: Iterable[Any], make: Callable[[Any], Iterator[Example]]) -> Any:
    """The examples `make` gives for each job: by Beam where it is installed, else one by one.

    Args:
      jobs: what can be pickled.
      make: job -> its examples; a function of a module.

    Returns:
      what `_generate_examples` may return: a Beam transform, or an iterator.
    """
    try:
        import apache_beam as beam
    except ImportError:
        return (example for job in jobs for example in make(job))
    return beam.Create(list(jobs)) | beam.Reshuffle() | beam.FlatMap(make)


def skipping(make: Callable[..., Iterator[Example]]) -> Callable[..., Iterator[Example]]:
    """Leaves out the examples of a job whose picture cannot be read, and logs why."""

    @functools.wraps(make)
    def careful(job):
        try:
            yield from make(job)
        except folder.BadPicture as error:
            logging.warning("skipped %s: %s", job, error)

    return careful


def read_picture(path: str | epath.Path) -> np.ndarray:
    """uint8 [H, W, 3] from any file system TFDS knows.

    Raises:
      folder.BadPicture: it is missing or damaged.
    """
    try:
        content = epath.Path(path).read_bytes()
    except OSError as error:
        raise folder.BadPicture(f"cannot be read: {error}") from error
    return folder.read_picture(content)


def read_mat(path: str | epath.Path) -> dict[str, Any]:
    """Variables of a MATLAB file, structs as objects, single values without their axes."""
    with epath.Path(path).open("rb") as stream:
        return tfds.core.lazy_imports.scipy.io.loadmat(
            stream, squeeze_me=True, struct_as_record=False
        )


def face_square(landmarks_px: np.ndarray) -> tuple[np.ndarray, float]:
    """Middle [2] and side of the square around a face's landmarks [68, 2]."""
    low, high = landmarks_px.min(axis=0), landmarks_px.max(axis=0)
    return (low + high) / 2, _FACE_MARGIN * float((high - low).max())


def five_landmarks(landmarks_px: np.ndarray) -> np.ndarray:
    """The five points [5, 2] that `align_faces.geometry.align` takes, of the usual 68 [68, 2]."""
    return np.stack([landmarks_px[list(points)].mean(axis=0) for points in _FIVE_OF_68])


def crop_square(
    picture: np.ndarray, centre_px: Sequence[float] | np.ndarray, side_px: float, largest_px: int
) -> np.ndarray:
    """A square of a picture; beyond the picture its border is repeated.

    Args:
      picture: uint8 [H, W, 3].
      centre_px: x and y.
      side_px: of the square in the picture.
      largest_px: a larger square is made this small.

    Returns:
      uint8 [R, R, 3].

    Raises:
      folder.BadPicture: the square does not touch the picture.
    """
    height, width = picture.shape[:2]
    side = max(1, round(side_px))
    left, top = (round(float(middle) - side / 2) for middle in centre_px)
    if left >= width or top >= height or left + side <= 0 or top + side <= 0:
        raise folder.BadPicture("the object lies outside the picture")
    rows = np.clip(np.arange(top, top + side), 0, height - 1)
    columns = np.clip(np.arange(left, left + side), 0, width - 1)
    square = picture[rows[:, None], columns]
    if side <= largest_px:
        return square
    return np.array(Image.fromarray(square).resize((largest_px,) * 2, Image.Resampling.LANCZOS))


def crop_box(picture: np.ndarray, box_px: Sequence[float] | np.ndarray) -> np.ndarray:
    """The part of a picture in a box (x1, y1, x2, y2), cut at the picture's border.

    Raises:
      folder.BadPicture: nothing is left.
    """
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = (round(float(edge)) for edge in box_px)
    cropped = picture[max(0, y1) : min(height, y2), max(0, x1) : min(width, x2)]
    if not cropped.size:
        raise folder.BadPicture(f"the box {x1}, {y1}, {x2}, {y2} holds no pixel")
    return cropped
