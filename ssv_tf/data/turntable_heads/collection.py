"""Collections of rendered heads with exact angles of head and gaze, without anything on disk.

Gaze is told relative to the head, by the signs of the head itself: its yaw grows as the eyes turn
to image left where the face is to the camera, its pitch as they turn up.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data.turntable_cars.collection import render_into, rotations
from ssv_tf.data.turntable_cars.render import stream
from ssv_tf.data.turntable_heads.render import render_picture

SPLITS = ("train", "calibration", "test")
GAZES = ("free", "with_head", "ahead")
AZIMUTH_RANGE_DEG = (-60.0, 60.0)
ELEVATION_RANGE_DEG = (-10.0, 20.0)
TILT_RANGE_DEG = (-10.0, 10.0)
GAZE_YAW_RANGE_DEG = (-35.0, 35.0)
GAZE_PITCH_RANGE_DEG = (-15.0, 15.0)

_YAW_PER_AZIMUTH = 0.5  # of a gaze that goes with the head
_YAW_NOISE_DEG = 3.0
_WORKER = "ssv_tf.data.turntable_heads.worker"
_ANGLE_STREAM, _GAZE_STREAM = 0, 5


class Pose(NamedTuple):
    """Angles of pictures: [..., 3] azimuth, elevation, tilt; [..., 2] gaze yaw, pitch; degrees."""

    angles_deg: np.ndarray
    gaze_deg: np.ndarray


def picture_seed(seed: int, split: str, index: int) -> tuple[int, int, int]:
    """What decides everything about picture `index` of `split`: splits never share a head."""
    if split not in SPLITS:
        raise UserError(f"turntable_heads has no split {split!r}; it has {', '.join(SPLITS)}")
    return seed, SPLITS.index(split), index


def draw_pose(seed_tuple: tuple[int, ...], gaze: str = "free") -> Pose:
    """Pose and gaze of a picture, float32 [3] and [2], uniform in the ranges above.

    Args:
      seed_tuple: decides them; the pose does not depend on `gaze`.
      gaze: "free", independent of the head; "with_head", yaw half of the head's azimuth and a
        little noise; "ahead", 0.
    """
    if gaze not in GAZES:
        raise SettingError(f"gaze must be one of {', '.join(GAZES)}, got {gaze!r}")
    low, high = zip(AZIMUTH_RANGE_DEG, ELEVATION_RANGE_DEG, TILT_RANGE_DEG, strict=True)
    angles = stream(seed_tuple, _ANGLE_STREAM).uniform(low, high)
    rng = stream(seed_tuple, _GAZE_STREAM)
    yaw, pitch = (rng.uniform(*ends) for ends in (GAZE_YAW_RANGE_DEG, GAZE_PITCH_RANGE_DEG))
    if gaze == "with_head":
        followed = np.clip(_YAW_PER_AZIMUTH * angles[0], *GAZE_YAW_RANGE_DEG)
        yaw = np.clip(followed + rng.normal(0, _YAW_NOISE_DEG), *GAZE_YAW_RANGE_DEG)
    elif gaze == "ahead":
        yaw = pitch = 0.0
    return Pose(angles.astype(np.float32), np.array([yaw, pitch], np.float32))


def pose_rotations(pose: Pose) -> np.ndarray:
    """[..., 2, 3, 3]: camera to object space, and object space to that of the eyes."""
    gaze = np.asarray(pose.gaze_deg, np.float64)
    yaw, pitch = gaze[..., 0], gaze[..., 1]
    turned, lowered = (
        rotations(np.stack(angles, axis=-1))
        for angles in ((yaw, 0 * yaw, 0 * yaw), (0 * yaw, -pitch, 0 * yaw))
    )
    return np.stack([rotations(pose.angles_deg), lowered @ turned], axis=-3)


def render_head(seed_tuple: tuple[int, ...], resolution: int, pose: Pose) -> np.ndarray:
    """Renders one head: uint8 [resolution, resolution, 3].

    Args:
      seed_tuple: whole numbers, e.g. from `picture_seed`; decides head and scene.
      resolution: pixels of a side.
      pose: of this picture, e.g. from `draw_pose`.
    """
    return render_picture(seed_tuple, resolution, pose_rotations(pose))


def render_range(
    indices: Sequence[int],
    resolution: int,
    split: str,
    gaze: str = "free",
    seed: int = 0,
    workers: int | None = None,
) -> tuple[np.ndarray, Pose]:
    """Renders pictures of a split; each depends on seed, split, index and gaze alone.

    Args:
      indices: of the pictures in the split, from 0 up.
      resolution: pixels of a side.
      split: one of `SPLITS`; their heads differ.
      gaze: one of `GAZES`.
      seed: another seed gives another collection.
      workers: processes; None for one per CPU this process may use.

    Returns:
      (images uint8 [count, R, R, 3], their Pose with float32 [count, 3] and [count, 2]).

    Raises:
      UserError: unknown split or gaze, or a worker failed.
    """
    seeds = [picture_seed(seed, split, index) for index in indices]
    drawn = [draw_pose(item, gaze) for item in seeds]
    pose = Pose(*(np.stack(values) for values in zip(*drawn, strict=True)))
    return render_poses(seeds, resolution, pose, workers), pose


def render_poses(
    seeds: Sequence[tuple[int, ...]], resolution: int, pose: Pose, workers: int | None = None
) -> np.ndarray:
    """Renders heads in given poses: uint8 [count, R, R, 3].

    Args:
      seeds: seed tuple of each picture; the same one twice is the same head in the same scene.
      resolution: pixels of a side.
      pose: [count, 3] and [count, 2].
      workers: processes; None for one per CPU this process may use.
    """
    images = np.empty((len(seeds), resolution, resolution, 3), np.uint8)
    render_into(images, seeds, pose_rotations(pose), render_picture, _WORKER, workers)
    return images
