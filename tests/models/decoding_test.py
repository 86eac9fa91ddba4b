"""The decoder against NumPy: quadrants, warp, line, wrapping, confidence."""

import dataclasses

import numpy as np
import pytest
from keras import ops

from ssv_tf import viewpoint
from ssv_tf.evaluation.calibration import Calibration
from ssv_tf.evaluation.confidence import Confidence
from ssv_tf.models import decoding
from ssv_tf.models.decoding import RawPrediction
from ssv_tf.models.encoding import Encoding

FITTED = Calibration(
    (-1.0, 1.2, 0.9), (150.0, 3.0, -2.0),
    quadrant_bias=(0.5, -2.0, 1.0, 0.3), azimuth_warp=(1.3, 0.8),
    confidence=Confidence(0.4, 0.7, -0.3),
)  # fmt: skip
ENCODING = Encoding((0.0, 0.2, 0.0), (1.0, 4.0, 8.0))


def _raw(count=500, seed=0, head=True):
    random = np.random.default_rng(seed)
    return RawPrediction(
        random.normal(0, 4, (count, 3, 2)).astype(np.float32),
        random.normal(0, 4, (count, 3, 4)).astype(np.float32),
        random.normal(0, 3, (count, 1)).astype(np.float32) if head else None,
        ENCODING,
    )


def _own_deg(raw, bias):
    """Degrees [n, 3] by the definition, in float64."""
    magnitudes = np.exp(raw.magnitude_logits.astype(float))
    cosine, sine = np.moveaxis(np.sqrt(magnitudes / magnitudes.sum(-1, keepdims=True)), -1, 0)
    logits = raw.quadrant_logits + np.array([bias, (0,) * 4, (0,) * 4])
    signs = np.asarray(viewpoint.QUADRANT_SIGNS)[logits.argmax(-1)]
    angles = np.arctan2(sine * signs[..., 1], cosine * signs[..., 0])
    return np.degrees(angles / np.array(ENCODING.stretch) + np.array(ENCODING.centre_rad))


def _warped(azimuth_deg, a, b):
    """Quarter by quarter, as the words say it."""
    from_plane = np.minimum(np.abs(azimuth_deg), 180 - np.abs(azimuth_deg))
    moved = 90 * (1 - (1 - (from_plane / 90) ** a) ** b)
    return np.sign(azimuth_deg) * np.where(np.abs(azimuth_deg) > 90, 180 - moved, moved)


def test_answers_are_the_quadrant_the_warp_and_the_line_in_that_order():
    raw = _raw()
    wanted = _own_deg(raw, FITTED.quadrant_bias)
    assert (_own_deg(raw, decoding.NO_BIAS) != wanted).any(axis=1).mean() > 0.1, "the bias matters"
    wanted[:, 0] = _warped(wanted[:, 0], *FITTED.azimuth_warp)
    wanted = viewpoint.wrap_deg(wanted * FITTED.scale + FITTED.offset_deg)
    views = decoding.decode(raw, FITTED)
    apart = viewpoint.wrap_deg(ops.convert_to_numpy(views.degrees) - wanted)
    assert np.abs(apart).max() < 1e-3
    np.testing.assert_array_equal(views.azimuth_deg, views.degrees[:, 0])
    np.testing.assert_array_equal(views.tilt_deg, views.degrees[:, 2])


def test_uncalibrated_it_is_what_the_network_says():
    raw = _raw()
    views = decoding.decode(raw)
    np.testing.assert_allclose(views.degrees, _own_deg(raw, decoding.NO_BIAS), atol=1e-3)
    assert views.confidence is None


@pytest.mark.parametrize("head", [True, False])
def test_confidence_is_that_of_float64(head):
    raw = _raw(head=head)
    logits = raw.quadrant_logits[:, 0].astype(float) + FITTED.quadrant_bias
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    top = np.sort(share / share.sum(axis=1, keepdims=True), axis=1)
    doubt = np.maximum(top[:, :3].sum(axis=1), decoding.LEAST_DOUBT)
    log_odds = 0.4 * (np.log(top[:, 3]) - np.log(doubt)) - 0.3
    log_odds += 0.7 * raw.confidence_logit[:, 0] if head else 0.0
    confidence = ops.convert_to_numpy(decoding.decode(raw, FITTED).confidence)
    assert confidence.shape == (500,)
    np.testing.assert_allclose(confidence, 1 / (1 + np.exp(-log_odds)), atol=1e-6)


def test_the_margin_of_a_sure_network_is_not_rounded_away():
    logits = np.array([[0.0, 10.0, -5.0, -5.0], [9.0, 0.0, 0.0, 0.0], [0, 0, 0, 60]], np.float32)
    others = np.array([np.exp(-10) + 2 * np.exp(-15), 3 * np.exp(-9)])
    found = ops.convert_to_numpy(decoding.quadrant_margin(logits))
    np.testing.assert_allclose(found[:2], -np.log(others), atol=1e-5)
    assert found[2] == pytest.approx(-np.log(decoding.LEAST_DOUBT), abs=1e-5)


@pytest.mark.parametrize(
    ("logits", "quadrants"),
    [
        ((0, 0, 0, 0), {0}), ((-0.0, 0, -0.0, 0), {0}), ((1, 5, 5, 0), {1, 2}), ((0, 3, 0, 3), {1}),
        ((0, 0, 2, 2), {2}), ((4, 0, 0, 4), {0}), ((-9, -8, -7, -6), {3}),
    ],
)  # fmt: skip
def test_a_tie_is_one_of_the_likeliest_quadrants(logits, quadrants):
    quadrant_logits = np.tile(np.array(logits, np.float32), (1, 3, 1))
    degrees = decoding.decode(RawPrediction(np.zeros((1, 3, 2), np.float32), quadrant_logits))
    found = viewpoint.quadrant_of_deg(ops.convert_to_numpy(degrees.degrees))
    assert set(found.ravel()) <= quadrants


def test_wrapping_keeps_180_and_turns_minus_180():
    angles = np.radians([[180.0, -180.0, 0.0]])
    turned = dataclasses.replace(Calibration.identity(), offset_deg=(10.0, -10.0, 540.0))
    np.testing.assert_allclose(
        decoding.calibrated_deg(angles, turned), [[-170.0, 170.0, 180.0]], atol=1e-6
    )
    small = np.float32([[np.pi, np.nextafter(np.float32(np.pi), np.float32(4)), -np.pi]])
    degrees = ops.convert_to_numpy(decoding.calibrated_deg(small, Calibration.identity()))
    assert (degrees > -180).all() and (degrees <= 180).all()


def test_some_pictures_of_a_prediction_are_a_prediction():
    raw = _raw(6)
    chosen = np.array([True, False, True, False, False, True])
    part = raw[chosen]
    assert len(part) == 3 and part.encoding == ENCODING
    whole = ops.convert_to_numpy(decoding.decode(raw, FITTED).degrees)
    np.testing.assert_allclose(decoding.decode(part, FITTED).degrees, whole[chosen], atol=1e-4)
    assert _raw(4, head=False)[1:].confidence_logit is None
