"""Encoding and decoding of angles, against NumPy and values worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from keras import ops

from ssv_tf import viewpoint
from ssv_tf.models import encoding

_PI = float(np.float32(np.pi))
ANGLE = st.floats(-_PI, _PI, width=32)
TRIPLE = st.tuples(ANGLE, ANGLE, ANGLE)


def _logits(angles_rad):
    """A sure prediction of the angles."""
    magnitudes, quadrants = encoding.encode(ops.convert_to_tensor(angles_rad, "float32"))
    return ops.log(ops.maximum(magnitudes, 1e-14)), 20.0 * quadrants


def _round_trip(angles_rad):
    return ops.convert_to_numpy(encoding.decode(*_logits(angles_rad)))


def _apart_rad(first, second):
    return np.abs(np.angle(np.exp(1j * (np.asarray(first, np.float64) - np.asarray(second)))))


# --- Encoding --------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(TRIPLE)
def test_decode_undoes_encode_all_around_the_circle(angles):
    assert _apart_rad(_round_trip([angles]), [angles]).max() < 1e-5


@pytest.mark.parametrize(
    "degrees, magnitudes, allowed_quadrants",
    [
        (0, (1, 0), {0}),
        (90, (0, 1), {0, 1}),  # float32 decides the sign of a cosine of almost zero
        (180, (1, 0), {1, 3}),
        (-180, (1, 0), {1, 3}),
        (-90, (0, 1), {2, 3}),
        (45, (0.5, 0.5), {0}),
        (135, (0.5, 0.5), {1}),
        (-45, (0.5, 0.5), {2}),
        (-135, (0.5, 0.5), {3}),
    ],
)
def test_encoding_of_straight_and_diagonal_angles(degrees, magnitudes, allowed_quadrants):
    angles = np.full((1, 3), np.radians(degrees), np.float32)
    got, quadrants = (ops.convert_to_numpy(x) for x in encoding.encode(angles))
    np.testing.assert_allclose(got, np.broadcast_to(magnitudes, (1, 3, 2)), atol=1e-6)
    assert set(quadrants.argmax(-1).ravel()) <= allowed_quadrants
    assert (quadrants.sum(-1) == 1).all()
    assert _apart_rad(_round_trip(angles), angles).max() < 1e-5


def test_decode_by_hand():
    magnitudes = np.log([[[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]]]).astype(np.float32)
    quadrants = 9.0 * np.eye(4, dtype=np.float32)[[[1, 2, 3]]]
    decoded = np.degrees(encoding.decode(magnitudes, quadrants))
    np.testing.assert_allclose(decoded, [[150, -60, -135]], atol=1e-4)


def test_decode_takes_the_likeliest_quadrant_not_a_mixture():
    magnitudes = np.zeros((1, 3, 2), np.float32)
    quadrants = np.array([[[0.3, 0.2, 0.4, 0.1]] * 3], np.float32)
    np.testing.assert_allclose(np.degrees(encoding.decode(magnitudes, quadrants)), -45, atol=1e-4)


@pytest.mark.parametrize("spread", [0.0, 1.0, 20.0, 50.0, 1000.0])
def test_gradient_of_decode_is_finite_however_sure_the_prediction(spread):
    magnitudes = tf.constant([[[spread, -spread], [-spread, spread], [0, 0]]], tf.float32)
    quadrants = tf.constant(np.eye(4)[None, :3], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(magnitudes)
        angles = encoding.decode(magnitudes, quadrants)
    gradient = tape.gradient(angles, magnitudes).numpy()
    assert np.isfinite(gradient).all()
    assert np.abs(gradient[0, 2]).min() > 0.1  # an unsure angle does learn


def test_gradient_of_decode_by_hand():
    # tan^2 = exp(l1 - l0), so d angle / d l1 = sin cos / 2 in the first quadrant.
    angle = np.radians(30)
    magnitudes, quadrants = _logits([[angle] * 3])
    with tf.GradientTape() as tape:
        tape.watch(magnitudes)
        decoded = encoding.decode(magnitudes, quadrants)
    slope = np.sin(angle) * np.cos(angle) / 2
    expected = np.broadcast_to([-slope, slope], (1, 3, 2))
    np.testing.assert_allclose(tape.gradient(decoded, magnitudes), expected, atol=1e-5)


# --- Mirroring -------------------------------------------------------------------------------


def test_tensors_are_mirrored_as_arrays_are():
    angles = np.array([[10.0, 20.0, 30.0]], np.float32)
    np.testing.assert_array_equal(encoding.mirror(ops.convert_to_tensor(angles)), [[-10, 20, -30]])
    np.testing.assert_array_equal(viewpoint.mirror(angles), [[-10, 20, -30]])


@settings(max_examples=100, deadline=None)
@given(TRIPLE)
def test_mirrored_prediction_is_the_encoding_of_the_mirrored_angles(angles):
    assume(np.abs(np.sin(angles)).min() > 1e-5)  # at sin = 0 two quadrants are as good
    angles = np.array([angles], np.float32)
    magnitudes, quadrants = encoding.encode(angles)
    expected = encoding.encode(viewpoint.mirror(angles))
    for got, wanted in zip(
        encoding.mirror_prediction(magnitudes, quadrants), expected, strict=True
    ):
        np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_mirrored_prediction_decodes_to_the_mirrored_angles():
    random = np.random.default_rng(0)
    magnitudes = random.normal(0, 3, (300, 3, 2)).astype(np.float32)
    quadrants = random.normal(0, 3, (300, 3, 4)).astype(np.float32)
    mirrored = encoding.decode(*encoding.mirror_prediction(magnitudes, quadrants))
    expected = ops.convert_to_numpy(encoding.mirror(encoding.decode(magnitudes, quadrants)))
    np.testing.assert_allclose(mirrored, expected, atol=1e-6)
    twice = encoding.mirror_prediction(*encoding.mirror_prediction(magnitudes, quadrants))
    np.testing.assert_array_equal(twice[1], quadrants)


# --- Stretched ranges --------------------------------------------------------------------------

ENCODING = encoding.Encoding.of_range(np.radians([-180, -5, -4]), np.radians([180, 15, 4]))


def test_narrow_ranges_are_stretched_and_wide_ones_are_not():
    np.testing.assert_allclose(np.degrees(ENCODING.centre_rad), (0, 5, 0), atol=1e-9)
    np.testing.assert_allclose(ENCODING.stretch, (1.0, 7.5, 75 / 4), rtol=1e-6)
    assert encoding.Encoding.of_range((-3.2, -1.5, -1.4), (3.2, 1.5, 1.4)) == encoding.PLAIN


def test_stretched_angles_come_back_and_mirror():
    low, high = np.radians([-180, -5, -4]), np.radians([180, 15, 4])
    angles = np.random.default_rng(2).uniform(low, high, (64, 3)).astype("float32")
    magnitudes, quadrants = (ops.convert_to_numpy(x) for x in encoding.encode(angles, ENCODING))
    logits = np.log(np.maximum(magnitudes, 1e-12)), 10 * quadrants
    back = ops.convert_to_numpy(encoding.decode(*logits, ENCODING))
    np.testing.assert_allclose(back, angles, atol=2e-3)
    mirrored = encoding.decode(*encoding.mirror_prediction(*logits), ENCODING)
    np.testing.assert_allclose(ops.convert_to_numpy(mirrored), viewpoint.mirror(angles), atol=2e-3)


def test_an_encoding_that_mirroring_would_break_is_refused():
    with pytest.raises(ValueError, match="centred on 0"):
        encoding.Encoding((0.1, 0.0, 0.0))
    with pytest.raises(ValueError, match="1 or more"):
        encoding.Encoding(stretch=(1.0, 0.5, 1.0))
