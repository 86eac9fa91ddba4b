"""The published sets' angles: hand-made cases, noses that are projected, round trips."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssv_tf import viewpoint
from ssv_tf.data import conventions

# Of an object in the project's axes: its nose, its top, its own left-hand side.
NOSE, TOP = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])
FLIP = np.diag([1.0, -1.0, -1.0])

around, tilted = st.floats(-179, 179), st.floats(-85, 85)


def _x(angle):
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _y(angle):
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _z(angle):
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _seen(viewpoint_deg):
    """(nose, top) in the camera's axes: x right, y up, z to the camera."""
    turned = conventions.rotation(viewpoint_deg)
    return turned @ NOSE, turned @ TOP


def test_the_rotation_is_the_projects():
    nose, top = _seen([90, 0, 0])
    np.testing.assert_allclose(nose, [-1, 0, 0], atol=1e-12)  # nose left
    nose, top = _seen([0, 30, 0])
    assert nose[1] < 0 and top[2] > 0  # from above the nose points down and the top shows
    nose, top = _seen([0, 0, 20])
    np.testing.assert_allclose(top[:2], [np.sin(np.radians(20)), np.cos(np.radians(20))])


@given(azimuth=around, elevation=tilted, tilt=around)
def test_rotation_and_viewpoint_undo_each_other(azimuth, elevation, tilt):
    given_deg = np.array([azimuth, elevation, tilt])
    back = conventions.from_rotation(conventions.rotation(given_deg))
    np.testing.assert_allclose(back, given_deg, atol=1e-6)
    matrix = conventions.rotation(given_deg)
    to_object = viewpoint.rotation_matrix(np.radians(given_deg))
    np.testing.assert_allclose(matrix @ to_object, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    "pitch_yaw_roll, expected",
    [
        ((0, 0, 0), (0, 0, 0)),
        ((0, 40, 0), (40, 0, 0)),  # nose at image left
        ((0, -70, 0), (-70, 0, 0)),
        ((25, 0, 0), (0, -25, 0)),  # looks up: the camera is below
        ((0, 0, 15), (0, 0, 15)),  # clockwise
        # Pitch comes last, about the camera's x axis, where the nose of a profile already points:
        # it leans the head away from the camera, which then looks from below.
        ((30, 90, 0), (90, -30, 0)),
        # Roll comes first: yaw then turns the nose to the left along what was up and down.
        ((0, 30, 90), (0, 30, 90)),
    ],
)
def test_300w_lp_and_aflw2000(pitch_yaw_roll, expected):
    found = conventions.from_pitch_yaw_roll(np.array(pitch_yaw_roll))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_300w_lp_noses_go_where_the_fitting_code_puts_them():
    """The three matrices of the published fitting code, entry by entry, on the model's nose."""
    phi, gamma, theta = np.radians([20, 50, -30])
    about_x = [[1, 0, 0], [0, np.cos(phi), np.sin(phi)], [0, -np.sin(phi), np.cos(phi)]]
    about_y = [[np.cos(gamma), 0, -np.sin(gamma)], [0, 1, 0], [np.sin(gamma), 0, np.cos(gamma)]]
    about_z = [[np.cos(theta), np.sin(theta), 0], [-np.sin(theta), np.cos(theta), 0], [0, 0, 1]]
    matrix = np.array(about_x) @ about_y @ about_z
    nose, top = _seen(conventions.from_pitch_yaw_roll(np.array([20, 50, -30])))
    np.testing.assert_allclose(nose, matrix @ NOSE, atol=1e-9)
    np.testing.assert_allclose(top, matrix @ TOP, atol=1e-9)
    assert nose[0] < 0 < nose[1]  # yaw 50: left; pitch 20: up


@settings(deadline=None)
@given(pitch=around, yaw=tilted, roll=around)
def test_pitch_yaw_roll_come_back(pitch, yaw, roll):
    given_deg = np.array([pitch, yaw, roll])
    back = conventions.to_pitch_yaw_roll(conventions.from_pitch_yaw_roll(given_deg))
    np.testing.assert_allclose(back, given_deg, atol=1e-5)


def test_a_real_label_read_plainly_would_be_wrong():
    """Yaw 66, pitch 40: read as azimuth and minus elevation, elevation is 18 degrees off."""
    azimuth, elevation, tilt = conventions.from_pitch_yaw_roll(np.array([39.96, 65.62, 19.99]))
    np.testing.assert_allclose([azimuth, elevation, tilt], [70.1, -21.4, 8.7], atol=0.1)


@pytest.mark.parametrize(
    "matrix, expected",
    [
        (np.eye(3), (0, 0, 0)),
        (_y(35), (35, 0, 0)),  # about y, which is down: the nose (-z) goes to -x
        (_x(20), (0, 20, 0)),  # the nose goes to +y, down: the camera is above
        (_z(10), (0, 0, 10)),  # x right to y down: clockwise
    ],
)
def test_biwi_matrices(matrix, expected):
    np.testing.assert_allclose(conventions.from_biwi(matrix), expected, atol=1e-9)
    nose = matrix @ [0, 0, -1]  # of a head that faces the camera, in x right, y down, z forward
    assert np.sign(np.round(nose[0], 6)) == -np.sign(expected[0])
    assert np.sign(np.round(nose[1], 6)) == np.sign(expected[1])


@given(azimuth=around, elevation=tilted, tilt=around)
def test_biwi_heads_project_as_their_viewpoint_says(azimuth, elevation, tilt):
    head = FLIP @ conventions.rotation([azimuth, elevation, tilt]) @ FLIP
    found = conventions.from_biwi(head)
    nose, top = _seen(found)
    np.testing.assert_allclose(FLIP @ nose, head @ FLIP @ NOSE, atol=1e-6)
    np.testing.assert_allclose(FLIP @ top, head @ FLIP @ TOP, atol=1e-6)


def test_biwi_colour_camera_turns_what_it_sees():
    camera = _y(5)
    np.testing.assert_allclose(conventions.from_biwi(_y(30), camera), (35, 0, 0), atol=1e-9)


def test_biwi_a_head_beside_the_axis_looks_past_the_camera():
    # At the right of the picture and looking parallel to the axis, its nose points past the camera,
    # to the camera's right: less to image left than one that faces the camera.
    centre = np.array([np.tan(np.radians(10)), 0, 1]) * 900
    np.testing.assert_allclose(
        conventions.from_biwi(np.eye(3), None, centre), (-10, 0, 0), atol=1e-9
    )
    facing = _y(10)  # its nose goes to image left, to the camera
    np.testing.assert_allclose(conventions.from_biwi(facing, None, centre), (0, 0, 0), atol=1e-9)
    below = np.array([0, np.tan(np.radians(8)), 1]) * 900  # below the axis it is seen from above
    np.testing.assert_allclose(conventions.from_biwi(np.eye(3), None, below), (0, 8, 0), atol=1e-9)
    with pytest.raises(ValueError, match="behind"):
        conventions.from_biwi(np.eye(3), None, -below)


def test_biwi_as_fsanet_reads_it():
    """The published formula, entry by entry, on the transpose of the pose file's matrix."""
    head = _x(25) @ _y(-50) @ _z(35)
    r = head.T
    roll = -np.arctan2(r[1, 0], r[0, 0])
    yaw = -np.arctan2(-r[2, 0], np.hypot(r[2, 1], r[2, 2]))
    pitch = np.arctan2(r[2, 1], r[2, 2])
    found = conventions.biwi_fsanet(head)
    np.testing.assert_allclose(found, np.degrees([pitch, yaw, roll]), atol=1e-9)
    np.testing.assert_allclose(found, [-25, -50, 35], atol=1e-9)
    np.testing.assert_allclose(conventions.from_pitch_yaw_roll(found), conventions.from_biwi(head))


def test_biwi_as_ssv_reads_it():
    np.testing.assert_allclose(conventions.biwi_axis_angle(np.eye(3)), [0, 0, 0], atol=1e-9)
    np.testing.assert_allclose(conventions.biwi_axis_angle(_y(40)), [0, 40, 0], atol=1e-9)
    np.testing.assert_allclose(conventions.biwi_axis_angle(_x(-20)), [20, 0, 0], atol=1e-9)
    np.testing.assert_allclose(conventions.biwi_axis_angle(_z(12)), [0, 0, 12], atol=1e-9)
    # A third of a turn about (1, 1, 1) permutes the axes: 120 / sqrt(3) on each.
    thirds = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    expected = 120 / np.sqrt(3) * np.array([-1, 1, 1])
    np.testing.assert_allclose(conventions.biwi_axis_angle(thirds), expected, atol=1e-9)


def test_the_two_readings_of_biwi_part_where_two_angles_are_large():
    small, large = _x(-3) @ _y(4), _x(-30) @ _y(60)
    apart = [
        np.abs(conventions.biwi_fsanet(m) - conventions.biwi_axis_angle(m)).max()
        for m in (small, large)
    ]
    assert apart[0] < 0.2 and apart[1] > 5


@pytest.mark.parametrize(
    "azimuth, elevation, theta, expected",
    [
        (0, 0, 0, (0, 0, 0)),
        (90, 0, 0, (90, 0, 0)),
        (270, 10, 0, (-90, 10, 0)),
        (180, 5, 0, (180, 5, 0)),
        (350, 0, 12, (-10, 0, -12)),
        (20, -3, 355, (20, -3, 5)),
    ],
)
def test_pascal3d(azimuth, elevation, theta, expected):
    np.testing.assert_allclose(conventions.from_pascal3d(azimuth, elevation, theta), expected)


@given(azimuth=st.floats(0, 360), elevation=tilted, theta=around)
def test_pascal3d_objects_project_as_their_viewpoint_says(azimuth, elevation, theta):
    """A camera of our own at the place the set's text gives, looking at the origin."""
    a, e, t = np.radians([azimuth, elevation, theta])
    place = np.array([np.cos(e) * np.sin(a), -np.cos(e) * np.cos(a), np.sin(e)])  # z is up
    right = np.cross([0, 0, 1], place)  # to the camera's right, level
    right /= np.linalg.norm(right)
    camera = np.stack([right, np.cross(place, right), place])  # rows: right, up, to the camera
    counter_clockwise = np.array([[np.cos(t), -np.sin(t), 0], [np.sin(t), np.cos(t), 0], [0, 0, 1]])
    camera = counter_clockwise @ camera
    nose, top = _seen(conventions.from_pascal3d(azimuth, elevation, theta))
    np.testing.assert_allclose(nose, camera @ [0, -1, 0], atol=1e-6)
    np.testing.assert_allclose(top, camera @ [0, 0, 1], atol=1e-6)


def test_comp_cars():
    assert conventions.from_comp_cars(1) == ("front", 0.0)
    assert conventions.from_comp_cars(2) == ("rear", 180.0)
    assert conventions.from_comp_cars(4) == ("front-side", 45.0)
    name, angle = conventions.from_comp_cars(-1)
    assert name == "uncertain" and np.isnan(angle)
    with pytest.raises(ValueError, match="not 0"):
        conventions.from_comp_cars(0)


def test_arrays_go_through_at_once():
    angles = np.random.default_rng(0).uniform(-80, 80, (4, 5, 3))
    for function in (conventions.from_pitch_yaw_roll, conventions.to_pitch_yaw_roll):
        whole = function(angles)
        assert whole.shape == angles.shape
        np.testing.assert_allclose(whole[2, 3], function(angles[2, 3]))
    heads = conventions.rotation(angles)
    centres = np.broadcast_to([100.0, 50, 900], angles.shape)
    whole = conventions.from_biwi(heads, np.eye(3), centres)
    np.testing.assert_allclose(
        whole[1, 1], conventions.from_biwi(heads[1, 1], np.eye(3), centres[1, 1])
    )
