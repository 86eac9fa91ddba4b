"""Signs and order of the viewpoint, against geometry worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssv_tf import viewpoint
from ssv_tf.models import geometry

_PI = float(np.float32(np.pi))
ANGLE = st.floats(-_PI, _PI, width=32)
TRIPLE = st.tuples(ANGLE, ANGLE, ANGLE)
NOSE, ROOF, LEFT_DOOR = np.eye(3)[[2, 1, 0]]


def _in_camera(point, azimuth=0, elevation=0, tilt=0):
    """Where a point of the object is seen: (right, up, towards the camera)."""
    return viewpoint.rotation_matrix(np.radians([azimuth, elevation, tilt])).T @ point


# --- Mirroring -------------------------------------------------------------------------------


def test_mirror_by_hand():
    mirrored = viewpoint.mirror(np.array([[10.0, 20.0, 30.0]], np.float32))
    np.testing.assert_array_equal(mirrored, [[-10, 20, -30]])


@settings(max_examples=50, deadline=None)
@given(TRIPLE)
def test_mirrored_viewpoint_is_the_mirrored_rotation(angles):
    mirror = np.diag([-1.0, 1.0, 1.0])
    rotation = viewpoint.rotation_matrix(np.array(angles))
    mirrored = viewpoint.rotation_matrix(np.array(angles) * [-1, 1, -1])
    np.testing.assert_allclose(mirrored, mirror @ rotation @ mirror, atol=1e-12)


# --- Rotation --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "azimuth, seen",
    [(0, (0, 0, 1)), (90, (-1, 0, 0)), (180, (0, 0, -1)), (-90, (1, 0, 0))],
)
def test_nose_turns_to_image_left_as_azimuth_grows(azimuth, seen):
    np.testing.assert_allclose(_in_camera(NOSE, azimuth=azimuth), seen, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.floats(-180, 180))
def test_roof_comes_towards_a_camera_above_whatever_the_azimuth(azimuth):
    seen = _in_camera(ROOF, azimuth=azimuth, elevation=30)
    np.testing.assert_allclose(seen, [0, 0.75**0.5, 0.5], atol=1e-12)


def test_nose_drops_in_the_picture_as_the_camera_rises():
    np.testing.assert_allclose(_in_camera(NOSE, elevation=30), [0, -0.5, 0.75**0.5], atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.floats(-180, 180), st.floats(-90, 90), st.floats(-180, 180))
def test_tilt_turns_the_picture_clockwise_and_no_depth(azimuth, elevation, tilt):
    for point in (NOSE, ROOF, LEFT_DOOR):
        right, up, near = _in_camera(point, azimuth, elevation)
        c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
        expected = [c * right + s * up, c * up - s * right, near]
        seen = _in_camera(point, azimuth, elevation, tilt)
        np.testing.assert_allclose(seen, expected, atol=1e-12)


def test_roof_leans_to_image_right_when_tilted():
    np.testing.assert_allclose(_in_camera(ROOF, tilt=90), [1, 0, 0], atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.lists(TRIPLE, min_size=1, max_size=5))
def test_rotations_are_orthonormal_and_the_same_in_keras_and_numpy(angles):
    angles = np.array(angles, np.float32)
    expected = viewpoint.rotation_matrix(angles)
    identity = np.broadcast_to(np.eye(3), expected.shape)
    np.testing.assert_allclose(expected @ np.swapaxes(expected, -1, -2), identity, atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(expected), 1, atol=1e-12)
    np.testing.assert_allclose(geometry.rotation_matrix(angles), expected, atol=1e-6)


def test_rotation_in_numpy_takes_any_leading_axes():
    angles = np.random.default_rng(0).normal(size=(2, 5, 3))
    many = viewpoint.rotation_matrix(angles)
    assert many.shape == (2, 5, 3, 3)
    np.testing.assert_array_equal(many[1, 3], viewpoint.rotation_matrix(angles[1, 3]))


# --- Degrees ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "degrees, wrapped",
    [(0, 0), (180, 180), (-180, 180), (181, -179), (540, 180), (-190, 170), (725, 5)],
)
def test_wrap_by_hand(degrees, wrapped):
    assert viewpoint.wrap_deg(degrees) == wrapped


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e4, 1e4), st.sampled_from([np.float64, np.float32]))
def test_wrapped_angles_are_the_same_angle_above_minus_180(degrees, dtype):
    wrapped = viewpoint.wrap_deg(np.array([degrees], dtype))
    assert (wrapped > -180).all() and (wrapped <= 180).all()
    np.testing.assert_allclose(np.exp(1j * np.radians(wrapped)),
                               np.exp(1j * np.radians([dtype(degrees)])), atol=1e-4)  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_wrapping_just_above_180_does_not_round_to_minus_180(dtype):
    above = np.nextafter(np.array([180], dtype), np.array([200], dtype))
    assert np.abs(viewpoint.wrap_deg(above)) <= 180
    assert viewpoint.wrap_deg(above) > -180
