"""From other people's angles to the project's: tables by words, published sets by functions.

A table of labels says by a few words how its angles count (`parse`), and may give the azimuth as a
class in words (`of_class`). Each published set has a function of its own.

`ssv_tf.viewpoint` says what azimuth, elevation and tilt are. In its axes (x to image right, y up, z
to the camera) a rotation R below takes a point of the object to the camera; R is the transpose of
`viewpoint.rotation_matrix`, R_tilt^T . R_el^T . R_az^T. The sets turn about the axes in other
orders, so that for large angles no angle is another one read with another sign: everything goes by
the matrix.

The signs are worked out from what each set publishes about its projection, and the tests build each
rotation, project a nose and look to which side it goes.
"""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from ssv_tf import viewpoint
from ssv_tf.base.errors import SettingError

RADIANS, NOSE_RIGHT = "radians", "nose_right"
_ZEROS = {"zero_left": 90.0, "zero_right": -90.0, "zero_rear": 180.0}
# What a table's convention may say, and what each word means.
WORDS = {
    RADIANS: "angles are radians",
    NOSE_RIGHT: "azimuth grows as the nose turns to image right",
    "zero_left": "at azimuth 0 the nose points to image left",
    "zero_right": "at azimuth 0 the nose points to image right",
    "zero_rear": "at azimuth 0 the rear faces the camera",
    "camera_below": "elevation > 0 is a camera below the object",
    "from_zenith": "elevation is counted from straight above: 0 above, 90 level",
    "tilt_counterclockwise": "tilt > 0 is an object turned counter-clockwise in the image",
}
# Azimuth of the middle of each class, and how wide the class is where the table has that word.
_CLASSES = {
    "front": (0.0, 90.0),
    "front_left": (45.0, 45.0),
    "left": (90.0, 90.0),
    "rear_left": (135.0, 45.0),
    "rear": (180.0, 90.0),
    "rear_right": (-135.0, 45.0),
    "right": (-90.0, 90.0),
    "front_right": (-45.0, 45.0),
}

# CompCars' coarse views and the unsigned azimuth of each; the side that is seen is not labelled.
COMP_CARS_VIEWS = {
    -1: ("uncertain", float("nan")),
    1: ("front", 0.0),
    2: ("rear", 180.0),
    3: ("side", 90.0),
    4: ("front-side", 45.0),
    5: ("rear-side", 135.0),
}

_Y_DOWN = np.diag([1.0, -1.0, -1.0])  # x right, y down, z forward <-> x right, y up, z backward


@dataclasses.dataclass(frozen=True)
class Convention:
    """How a table's numbers count; the default is the project's own.

    Attributes:
      words: of `WORDS`.
    """

    words: frozenset[str] = frozenset()

    @property
    def in_radians(self) -> bool:
        """Whether numbers are radians."""
        return RADIANS in self.words

    def degrees(self, angles: ArrayLike) -> np.ndarray:
        """The numbers in degrees, else as they are: [..., 3] -> float64 [..., 3]."""
        angles = np.asarray(angles, np.float64)
        return np.degrees(angles) if self.in_radians else angles

    def range_deg(self, column: str, largest_deg: float) -> tuple[float, float]:
        """The least and the largest angle in a column that may be +-`largest_deg` of ours."""
        zenith = column.startswith("elevation") and "from_zenith" in self.words
        return (0.0, 2 * largest_deg) if zenith else (-largest_deg, largest_deg)

    def to_viewpoint(self, angles_deg: ArrayLike) -> np.ndarray:
        """Degrees [..., 3] of the table as viewpoints float64 [..., 3]; NaN stays, none is wrapped.

        First the sign, then the zero: with nose_right and zero_left 30 becomes 90 - 30.
        """
        if not self.words - {RADIANS}:
            return np.array(angles_deg, np.float64)
        azimuth, elevation, tilt = np.moveaxis(np.array(angles_deg, np.float64), -1, 0)
        azimuth = azimuth * self._side
        for word in self.words & set(_ZEROS):
            azimuth = azimuth + _ZEROS[word]
        if "from_zenith" in self.words:
            elevation = 90.0 - elevation
        if "camera_below" in self.words:
            elevation = -elevation
        if "tilt_counterclockwise" in self.words:
            tilt = -tilt
        return np.stack([azimuth, elevation, tilt], axis=-1)

    def of_class(self, text: str) -> tuple[float, float] | None:
        """A class of azimuth in words as (azimuth of its middle, its width); None: no such class.

        front, front_left, left, rear_left, rear, rear_right, right, front_right, in any case and
        with a space, a hyphen or nothing for the underscore; `back` is the rear. Left means that
        the nose points to image left (azimuth 90), which shows the object's own left side; with
        nose_right it means image right. No other word of the convention touches a class.

        The width is 45 of a class between two others, and 90 of the four, which a table of eight
        classes makes narrower.
        """
        if not text[:1].isalpha():
            return None
        key = "_".join(text.lower().replace("-", " ").replace("_", " ").split())
        key = key.replace("back", "rear")
        for end in ("front", "rear"):  # frontleft, and left_front
            for side in ("left", "right"):
                if key in (f"{end}{side}", f"{side}_{end}", f"{side}{end}"):
                    key = f"{end}_{side}"
        if key not in _CLASSES:
            return None
        azimuth, width = _CLASSES[key]
        return float(viewpoint.wrap_deg(azimuth * self._side)), width

    @property
    def _side(self) -> float:
        return -1.0 if NOSE_RIGHT in self.words else 1.0


def parse(text: str | None) -> Convention:
    """Reads words of `WORDS`, separated by commas; nothing is the project's own convention.

    Raises:
      SettingError: another word, or two words that say where azimuth 0 is.
    """
    words = [word.strip().lower() for word in (text or "").split(",") if word.strip()]
    for word in words:
        if word in WORDS:
            continue
        hint = ""
        if "clockwise" in word:
            hint = (
                "; clockwise may be said of camera, object or turntable: what counts is whether "
                f"the nose turns to image left (the default) or right ({NOSE_RIGHT})"
            )
        raise SettingError(f"`convention` has no word {word!r}; it takes {', '.join(WORDS)}{hint}")
    zeros = sorted(set(words) & set(_ZEROS))
    if len(zeros) > 1:
        raise SettingError(f"`convention` says both {zeros[0]} and {zeros[1]}")
    return Convention(frozenset(words))


def rotation(viewpoint_deg: np.ndarray) -> np.ndarray:
    """Viewpoints [..., 3] as rotations R [..., 3, 3] from the object to the camera."""
    to_object = viewpoint.rotation_matrix(np.radians(np.asarray(viewpoint_deg, np.float64)))
    return np.swapaxes(to_object, -1, -2)


def from_rotation(matrix: np.ndarray) -> np.ndarray:
    """Rotations R [..., 3, 3] from the object to the camera as viewpoints [..., 3] in degrees.

    Elevation is in [-90, 90]. Seen from straight above or below only azimuth and tilt together are
    known, and the tilt is taken as 0 or 180.
    """
    matrix = np.asarray(matrix, np.float64)
    azimuth = np.arctan2(matrix[..., 2, 0], matrix[..., 2, 2])
    elevation = np.arcsin(np.clip(matrix[..., 2, 1], -1.0, 1.0))
    tilt = np.arctan2(matrix[..., 0, 1], matrix[..., 1, 1])
    return np.degrees(np.stack([azimuth, elevation, tilt], axis=-1))


def from_pitch_yaw_roll(pitch_yaw_roll_deg: np.ndarray) -> np.ndarray:
    """300W-LP and AFLW2000-3D: the first three of `Pose_Para`, in degrees, as viewpoints [..., 3].

    The face model has x to image right, y up and z to the camera, and is turned by
    R_x(-pitch) . R_y(-yaw) . R_z(-roll) (Zhu et al. 2016, section 3.1, with the signs of their
    fitting code): yaw > 0 turns the nose to image left, pitch > 0 lifts it, roll > 0 turns the head
    clockwise. Near the front azimuth is yaw, elevation is minus pitch and tilt is roll.
    """
    pitch, yaw, roll = np.moveaxis(np.radians(np.asarray(pitch_yaw_roll_deg, np.float64)), -1, 0)
    return from_rotation(_about(0, -pitch) @ _about(1, -yaw) @ _about(2, -roll))


def to_pitch_yaw_roll(viewpoint_deg: np.ndarray) -> np.ndarray:
    """Viewpoints [..., 3] as pitch, yaw, roll; undoes `from_pitch_yaw_roll` for yaw within 90."""
    return _pitch_yaw_roll(rotation(viewpoint_deg))


def from_biwi(
    head: np.ndarray,
    camera: np.ndarray | None = None,
    centre_mm: np.ndarray | None = None,
) -> np.ndarray:
    """BIWI: rotation matrices as viewpoints [..., 3], seen by the colour camera.

    BIWI's axes are x to image right, y down, z forward, and a head that faces the depth camera has
    the identity.

    Args:
      head: [..., 3, 3], of frame_*_pose.txt: from the head to the depth camera.
      camera: [3, 3], of rgb.cal: from the depth to the colour camera; None: leaves it out.
      centre_mm: [..., 3], the head's centre before the colour camera. A head beside the optical
        axis that looks straight ahead does not face the camera: with the centre, angles are those
        to the line of sight, which is what a crop shows. None: to the optical axis.
    """
    turned = np.asarray(head, np.float64) if camera is None else np.asarray(camera) @ head
    if centre_mm is not None:
        turned = _to_axis(np.asarray(centre_mm, np.float64)) @ turned
    return from_rotation(_Y_DOWN @ turned @ _Y_DOWN)


def biwi_fsanet(head: np.ndarray) -> np.ndarray:
    """BIWI as Hopenet, FSA-Net and those after them score it: pitch, yaw, roll [..., 3] in degrees.

    The Euler angles of the pose file's matrix alone, to the depth camera's axes; signs as in
    `from_pitch_yaw_roll`, so that a network trained on 300W-LP is scored without any change.
    """
    return _pitch_yaw_roll(_Y_DOWN @ np.asarray(head, np.float64) @ _Y_DOWN)


def biwi_axis_angle(head: np.ndarray) -> np.ndarray:
    """BIWI as SSV's published code scores it: an axis-angle vector, read as pitch, yaw, roll.

    The rotation's axis times its angle in degrees [..., 3], signs as `biwi_fsanet`. It agrees with
    the Euler angles where only one of them is large; turned by 60 degrees of yaw and 30 of pitch
    they are several degrees apart. Kept for comparison with published numbers.
    """
    matrix = _Y_DOWN @ np.asarray(head, np.float64) @ _Y_DOWN
    return -np.degrees(_axis_angle_rad(matrix))


def from_pascal3d(
    azimuth_deg: ArrayLike, elevation_deg: ArrayLike, theta_deg: ArrayLike
) -> np.ndarray:
    """Pascal3D+: azimuth, elevation, in-plane rotation theta as viewpoints [..., 3].

    The camera stands at (cos e sin a, -cos e cos a, sin e) of an object that is upright in z and
    whose front is at -y: azimuth 0 sees the front, 90 the side whose nose is at image left, as
    here. Theta turns the picture counter-clockwise, so that the tilt is minus theta.
    """
    angles = np.broadcast_arrays(
        viewpoint.wrap_deg(azimuth_deg), elevation_deg, viewpoint.wrap_deg(-np.asarray(theta_deg))
    )
    return np.stack(angles, axis=-1).astype(np.float64)


def from_comp_cars(view: int) -> tuple[str, float]:
    """CompCars: a coarse view as its name and |azimuth| in degrees (NaN where it is uncertain).

    The label says how far the car is turned, not to which side, and nothing of elevation and tilt.

    Raises:
      ValueError: no view of CompCars.
    """
    if view not in COMP_CARS_VIEWS:
        raise ValueError(f"CompCars has the views {sorted(COMP_CARS_VIEWS)}, not {view}")
    return COMP_CARS_VIEWS[view]


def _pitch_yaw_roll(matrix: np.ndarray) -> np.ndarray:
    """[..., 3, 3] = R_x(-pitch) . R_y(-yaw) . R_z(-roll), taken apart, in degrees."""
    yaw = -np.arcsin(np.clip(matrix[..., 0, 2], -1.0, 1.0))
    pitch = np.arctan2(matrix[..., 1, 2], matrix[..., 2, 2])
    roll = np.arctan2(matrix[..., 0, 1], matrix[..., 0, 0])
    return np.degrees(np.stack([pitch, yaw, roll], axis=-1))


def _about(axis: int, angle_rad: np.ndarray) -> np.ndarray:
    """Right-handed rotations [..., 3, 3] about x, y or z."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.broadcast_to(np.eye(3), (*np.shape(angle_rad), 3, 3)).copy()
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    matrix[..., first, first] = matrix[..., second, second] = cosine
    matrix[..., first, second], matrix[..., second, first] = -sine, sine
    return matrix


def _to_axis(positions: np.ndarray) -> np.ndarray:
    """Smallest rotations [..., 3, 3] that bring positions [..., 3] onto the z axis."""
    x, y, z = np.moveaxis(positions / np.linalg.norm(positions, axis=-1, keepdims=True), -1, 0)
    if np.any(z <= 0):
        raise ValueError("a head's centre lies behind the camera")
    share = 1.0 / (1.0 + z)
    rows = [
        [1.0 - share * x * x, -share * x * y, -x],
        [-share * x * y, 1.0 - share * y * y, -y],
        [x, y, z],
    ]
    return np.stack([np.stack(np.broadcast_arrays(*row), axis=-1) for row in rows], axis=-2)


def _axis_angle_rad(matrix: np.ndarray) -> np.ndarray:
    """Rotation vectors [..., 3] of matrices [..., 3, 3] that turn by less than 180 degrees."""
    skew = np.stack(
        [
            matrix[..., 2, 1] - matrix[..., 1, 2],
            matrix[..., 0, 2] - matrix[..., 2, 0],
            matrix[..., 1, 0] - matrix[..., 0, 1],
        ],
        axis=-1,
    )  # 2 sin(angle) times the axis
    sine = np.linalg.norm(skew, axis=-1) / 2
    angle = np.arctan2(sine, (np.trace(matrix, axis1=-2, axis2=-1) - 1) / 2)
    factor = np.where(sine > 1e-9, angle / (2 * np.maximum(sine, 1e-9)), 0.5)
    return skew * factor[..., None]
