"""Where a face's square lies, the crop, and what the crop does to a label. Needs no detector.

Pictures have x to the right and y down, in pixels. A rotation is positive where it turns the
picture clockwise, so that it adds to the tilt of `ssv_tf.viewpoint`: tilt acts on the camera's own
axis, behind azimuth and elevation, and turning the picture about a point leaves those as they were.

The square follows appendix C of Karras et al. 2018 (Progressive Growing of GANs), which holds for
profiles too: turned sideways, the eyes come together, but the way from eyes to mouth stays.
"""

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from ssv_tf import viewpoint

ALIGNED_SIDE = 256  # pixels of the square after the similarity transform
CROPPED_SIDE = 192  # its middle, which is kept

_EYES_TO_SIDE, _MOUTH_TO_SIDE = 4.0, 3.6
_CENTRE_BELOW_EYES = 0.1  # of the way from the eyes to the mouth


@dataclasses.dataclass(frozen=True)
class Alignment:
    """A similarity transform, as the square of the picture that becomes the aligned one.

    Attributes:
      centre_x_px, centre_y_px: middle of the square in the picture.
      side_px: side of the square, which becomes `ALIGNED_SIDE`.
      rotation_deg: by how much the picture is turned, clockwise; minus the face's own turn.
    """

    centre_x_px: float
    centre_y_px: float
    side_px: float
    rotation_deg: float

    def to_aligned(self, points_px: np.ndarray) -> np.ndarray:
        """Points [..., 2] of the picture in pixels of the aligned square."""
        offset = np.asarray(points_px, float) - (self.centre_x_px, self.centre_y_px)
        scale = ALIGNED_SIDE / self.side_px
        return scale * offset @ _clockwise(self.rotation_deg).T + ALIGNED_SIDE / 2

    def scaled(self, factor: float) -> "Alignment":
        """The same square in a picture `factor` times as large."""
        return Alignment(
            self.centre_x_px * factor,
            self.centre_y_px * factor,
            self.side_px * factor,
            self.rotation_deg,
        )


def align(landmarks_px: np.ndarray) -> Alignment:
    """The square of a face.

    Args:
      landmarks_px: [5, 2], x and y of the eye at image left, the other eye, the nose, the corner
        of the mouth at image left and the other one.

    Raises:
      ValueError: the points coincide, so that they have no direction.
    """
    left_eye, right_eye, _, left_mouth, right_mouth = np.asarray(landmarks_px, float)
    eyes = (left_eye + right_eye) / 2
    across, down = right_eye - left_eye, (left_mouth + right_mouth) / 2 - eyes
    right = across + np.array([down[1], -down[0]])  # both say where the face's right-hand side is
    side = max(_EYES_TO_SIDE * np.hypot(*across), _MOUTH_TO_SIDE * np.hypot(*down))
    if not np.hypot(*right) > 1e-3 * side:
        raise ValueError("the landmarks coincide")
    centre = eyes + _CENTRE_BELOW_EYES * down
    turned_deg = math.degrees(math.atan2(right[1], right[0]))
    return Alignment(float(centre[0]), float(centre[1]), float(side), 0.0 - turned_deg)


def crop(picture: np.ndarray, alignment: Alignment, size: int) -> np.ndarray:
    """The aligned face: similarity transform to 256 px, its middle 192, resized.

    Args:
      picture: uint8 [H, W, 3].
      alignment: where its face is.
      size: side of the result in pixels.

    Returns:
      uint8 [size, size, 3]; beyond the picture its border is repeated.
    """
    factor = max(
        1, int(alignment.side_px / ALIGNED_SIDE)
    )  # one pixel is the mean of those it holds
    image = Image.fromarray(picture).reduce(factor)
    image, alignment = _with_margin(image, alignment.scaled(1 / factor))
    aligned = image.transform(
        (ALIGNED_SIDE, ALIGNED_SIDE),
        Image.Transform.AFFINE,
        _affine(alignment),
        Image.Resampling.BICUBIC,
    )
    margin = (ALIGNED_SIDE - CROPPED_SIDE) / 2
    box = (margin, margin, ALIGNED_SIDE - margin, ALIGNED_SIDE - margin)
    return np.array(aligned.resize((size, size), Image.Resampling.LANCZOS, box))


def carry(angles_deg: np.ndarray, rotation_deg: ArrayLike) -> np.ndarray:
    """Labels of the aligned face: tilt grows by the rotation, azimuth and elevation stay.

    Args:
      angles_deg: [..., 3], azimuth, elevation, tilt of the face in the picture as it was.
      rotation_deg: [...], clockwise.
    """
    carried = np.array(angles_deg, float)
    carried[..., 2] = viewpoint.wrap_deg(carried[..., 2] + rotation_deg)
    return carried


def _clockwise(angle_deg: float) -> np.ndarray:
    """[2, 2], turns (x right, y down) clockwise as one sees it."""
    cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return np.array([[cosine, -sine], [sine, cosine]])


def _affine(alignment: Alignment) -> tuple[float, ...]:
    """Pillow's six numbers, which take a point of the aligned square to the picture."""
    turn_back = _clockwise(-alignment.rotation_deg) * alignment.side_px / ALIGNED_SIDE
    centre = np.array([alignment.centre_x_px, alignment.centre_y_px])
    shift = centre - turn_back @ np.full(2, ALIGNED_SIDE / 2)
    return (*turn_back[0], shift[0], *turn_back[1], shift[1])


def _with_margin(image: Image.Image, alignment: Alignment) -> tuple[Image.Image, Alignment]:
    """The picture with its border repeated as far as the square reaches."""
    turn = _clockwise(-alignment.rotation_deg)
    reach = alignment.side_px * CROPPED_SIDE / ALIGNED_SIDE / 2 * np.abs(turn).sum(axis=1) + 2
    centre = np.array([alignment.centre_x_px, alignment.centre_y_px])
    before = np.maximum(0, np.ceil(reach - centre)).astype(int)
    after = np.maximum(0, np.ceil(centre + reach - image.size)).astype(int)
    if not (before.any() or after.any()):
        return image, alignment
    widths = ((before[1], after[1]), (before[0], after[0]), (0, 0))
    padded = Image.fromarray(np.pad(np.asarray(image), widths, mode="edge"))
    x, y = centre + before
    return padded, dataclasses.replace(alignment, centre_x_px=float(x), centre_y_px=float(y))
