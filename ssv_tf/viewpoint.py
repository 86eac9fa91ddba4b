"""The one place that decides signs, order and quadrants of the viewpoint, in NumPy.

An array of angles ends in [azimuth, elevation, tilt]. Radians inside, degrees at every door.

Axes. Camera space: x to image right, y up, z towards the camera. Object space is the same at
viewpoint (0, 0, 0), with the object's front (nose) at +z, so that the front faces the camera.

* azimuth grows as the nose turns to image left (90 degrees = nose left, 180 = rear).
* elevation > 0: the camera is above the object.
* tilt > 0: the object is turned clockwise in the image.

The volume rotation R = R_az(y) . R_el(x) . R_tilt(z) takes a point in camera space to the place
in object space where it is sampled (SSV section 3.2: the 3D feature volume turned by v).
Mirroring the picture is (a, e, t) -> (-a, e, -t), exact for an object symmetric left-right.

The quadrant of an angle is a class over the signs of (cos, sin): 0 = (+, +), 1 = (-, +),
2 = (+, -), 3 = (-, -). `models.encoding` holds what the networks make of an angle.
"""

import numpy as np
from numpy.typing import ArrayLike

ANGLES = ("azimuth", "elevation", "tilt")

# Signs of (cos, sin) of each quadrant class.
QUADRANT_SIGNS = ((1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0))
# What mirroring the picture multiplies the angles by.
MIRROR_SIGNS = (-1.0, 1.0, -1.0)


def mirror(angles: np.ndarray) -> np.ndarray:
    """Viewpoint of the mirrored picture: (a, e, t) -> (-a, e, -t). Shape [..., 3], any unit."""
    return angles * np.asarray(MIRROR_SIGNS, angles.dtype)


def known(angles_deg: ArrayLike) -> np.ndarray:
    """Booleans [...]: which angles are known; NaN stands for an unknown one everywhere."""
    return np.logical_not(np.isnan(np.asarray(angles_deg, np.float64)))


def rotation_matrix(angles_rad: np.ndarray) -> np.ndarray:
    """R = R_az . R_el . R_tilt in float64: the product of the three axis rotations.

    Args:
      angles_rad: [..., 3].

    Returns:
      [..., 3, 3], camera space to object space; its transpose takes the object to the camera.
    """
    azimuth, elevation, tilt = np.moveaxis(np.asarray(angles_rad, np.float64), -1, 0)
    return (
        _axis_rotation(azimuth, 0, 2) @ _axis_rotation(elevation, 1, 2) @ _axis_rotation(tilt, 1, 0)
    )


def _axis_rotation(angle: np.ndarray, first: int, second: int) -> np.ndarray:
    """Rotation by `angle` that takes axis `second` towards axis `first`."""
    matrix = np.broadcast_to(np.eye(3), (*np.shape(angle), 3, 3)).copy()
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix[..., first, first] = matrix[..., second, second] = cosine
    matrix[..., first, second] = sine
    matrix[..., second, first] = -sine
    return matrix


def quadrant_of_deg(angles_deg: ArrayLike) -> np.ndarray:
    """Quadrant classes of angles in degrees."""
    angles = np.radians(angles_deg)
    return (np.cos(angles) < 0).astype(int) + 2 * (np.sin(angles) < 0)


def in_quadrant_deg(angles_deg: ArrayLike, quadrants: np.ndarray) -> np.ndarray:
    """The angles with the same (cos^2, sin^2) that lie in the given quadrant classes."""
    angles, signs = np.radians(angles_deg), np.asarray(QUADRANT_SIGNS)[quadrants]
    cosine, sine = np.abs(np.cos(angles)), np.abs(np.sin(angles))
    return np.degrees(np.arctan2(sine * signs[..., 1], cosine * signs[..., 0]))


def wrap_deg(angles_deg: ArrayLike) -> np.ndarray:
    """Angles in degrees wrapped to (-180, 180]."""
    wrapped = 180.0 - np.mod(180.0 - np.asarray(angles_deg), 360.0)
    return np.where(wrapped <= -180.0, 180.0, wrapped)[()]  # just above 180, mod rounds to 360
