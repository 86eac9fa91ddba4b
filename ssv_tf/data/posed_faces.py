"""Faces with 68 landmarks and pitch, yaw, roll, as 300W-LP and AFLW2000-3D give them."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ssv_tf.data import conventions, published
from ssv_tf.data.align_faces import geometry


@dataclasses.dataclass(eq=False, kw_only=True)
class FacesConfig(tfds.core.BuilderConfig):
    """How a face is cut out.

    Attributes:
      aligned: turned upright and cropped as `ssv_tf.data.align_faces` does, from the landmarks;
        else the square around the landmarks.
    """

    aligned: bool = False


CONFIGS = [
    FacesConfig(name="crop", description="The square around the landmarks, as it is."),
    FacesConfig(
        name="aligned", description="Turned upright, the angles carried over.", aligned=True
    ),
]


def features() -> tfds.features.FeaturesDict:
    """Of both sets; pitch, yaw and roll are the set's own, of the picture before any turn."""
    angle = tfds.features.Scalar(np.float32)
    return published.features(pitch_deg=angle, yaw_deg=angle, roll_deg=angle, rotation_deg=angle)


def example(
    filename: str,
    picture: np.ndarray,
    landmarks_px: np.ndarray,
    pose_rad: np.ndarray,
    aligned: bool,
) -> dict[str, Any]:
    """One face under the names of `features`.

    Args:
      filename: of the picture.
      picture: uint8 [H, W, 3].
      landmarks_px: [68, 2], x and y.
      pose_rad: [3 or more], pitch, yaw, roll first, as in Pose_Para.
      aligned: see FacesConfig.

    Raises:
      folder.BadPicture: the face lies outside its picture.
    """
    pitch_yaw_roll = np.degrees(np.asarray(pose_rad, np.float64)[:3])
    viewpoint_deg, rotation_deg = conventions.from_pitch_yaw_roll(pitch_yaw_roll), 0.0
    if aligned:
        alignment = geometry.align(published.five_landmarks(landmarks_px))
        image = geometry.crop(picture, alignment, published.FACE_SIDE_PX)
        rotation_deg = alignment.rotation_deg
        viewpoint_deg = geometry.carry(viewpoint_deg, rotation_deg)
    else:
        square = published.face_square(landmarks_px)
        image = published.crop_square(picture, *square, published.FACE_SIDE_PX)
    pitch, yaw, roll = pitch_yaw_roll.astype(np.float32)
    pose_angles = {"pitch_deg": pitch, "yaw_deg": yaw, "roll_deg": roll}
    named = {"image": image, "filename": filename, "rotation_deg": np.float32(rotation_deg)}
    return named | published.angles(viewpoint_deg) | pose_angles
