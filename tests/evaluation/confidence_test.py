"""Confidence is a probability: fitted, ordered, exported and scored as one."""

import json

import numpy as np
import pytest
from keras import ops
from predictions import own_angles

from ssv_tf.base.errors import UserError
from ssv_tf.evaluation import calibration, confidence
from ssv_tf.evaluation.calibration import Calibration
from ssv_tf.evaluation.confidence import Confidence
from ssv_tf.models import decoding, inference
from ssv_tf.models.decoding import RawPrediction

NO_BIAS = (0.0, 0.0, 0.0, 0.0)


def _raw(margins, heads=None):
    """Predictions whose likeliest of four quadrants leads by `margins` in log odds."""
    raw = np.zeros((len(margins), 7))
    # p = 1 / (1 + e^-m), the rest shared by three: the leading logit is m + log 3 above them.
    raw[:, 4] = np.asarray(margins) + np.log(3.0)
    return raw if heads is None else np.concatenate([raw, np.asarray(heads)[:, None]], axis=1)


def _sure(fitted, raw, bias=NO_BIAS):
    """What the decoder makes of these logits, [pictures]."""
    own = own_angles(raw)
    logits = np.zeros((len(own), 3, 4))
    logits[:, 0] = own.quadrant_logits
    head = None if own.confidence_logit is None else own.confidence_logit[:, None]
    parameters = Calibration((1.0,) * 3, (0.0,) * 3, quadrant_bias=bias, confidence=fitted)
    prediction = RawPrediction(np.zeros((len(own), 3, 2)), logits, head)
    return inference.decode(prediction, parameters).confidence


def _fit(raw, errors, within, even=None):
    own = own_angles(raw)
    margin = ops.convert_to_numpy(decoding.quadrant_margin(own.quadrant_logits))
    return confidence.fit(margin, own.confidence_logit, errors, within, even)


def _drawn(count, slope, offset, seed=0):
    """Margins, and errors that are small with probability sigmoid(slope * margin + offset)."""
    random = np.random.default_rng(seed)
    margins = random.uniform(0.0, 6.0, count)
    right = random.uniform(size=count) < 1.0 / (1.0 + np.exp(-(slope * margins + offset)))
    return margins, np.where(right, 5.0, 120.0)


def test_untouched_it_is_the_probability_of_the_likeliest_quadrant():
    logits = np.random.default_rng(0).normal(0, 2, (50, 4))
    raw = np.concatenate([np.zeros((50, 3)), logits], axis=1)
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(_sure(Confidence(1.0, 0.0, 0.0), raw), share.max(axis=1), atol=1e-6)


def test_a_bias_moves_the_quadrant_that_is_asked():
    raw = _raw([2.0])
    pushed = _sure(Confidence(1.0, 0.0, 0.0), raw, (0.0, 0.0, 20.0, 0.0))
    assert pushed > 0.999 > _sure(Confidence(1.0, 0.0, 0.0), raw)


def test_fit_finds_the_slope_and_offset_that_made_the_mistakes():
    margins, errors = _drawn(20_000, 0.5, -1.0)
    fitted = _fit(_raw(margins), errors, 30.0)
    assert fitted.margin_slope == pytest.approx(0.5, abs=0.05)
    assert fitted.offset == pytest.approx(-1.0, abs=0.15)
    assert fitted.head_slope == 0.0 and fitted.within_deg == 30.0


def test_overconfident_network_is_brought_down_on_100_pictures():
    margins, errors = _drawn(100, 0.3, -0.5)
    fitted = _fit(_raw(margins), errors, 30.0)
    others, their_errors = _drawn(5_000, 0.3, -0.5, seed=1)
    sure = _sure(fitted, _raw(others))
    trusting = _sure(Confidence(1.0, 0.0, 0.0), _raw(others))
    after, before = (
        confidence.reliability(s, their_errors <= 30)["expected_calibration_error"]
        for s in (sure, trusting)
    )
    assert after < 0.08 < 0.15 < before


def test_a_head_that_knows_more_than_the_margin_is_used():
    random = np.random.default_rng(0)
    heads = random.normal(0, 2, 400)
    errors = np.where(random.uniform(size=400) < 1 / (1 + np.exp(-heads)), 5.0, 120.0)
    fitted = _fit(_raw(random.uniform(0, 6, 400), heads), errors, 30.0)
    assert fitted.head_slope > 0.6 > 0.2 > fitted.margin_slope


def test_surer_never_means_worse():
    margins, errors = _drawn(300, -1.0, 2.0)
    fitted = _fit(_raw(margins, -margins), 125.0 - errors, 30.0)
    assert fitted.margin_slope >= 0 and fitted.head_slope >= 0


def test_right_or_wrong_throughout_stays_finite():
    for error in (0.0, 180.0):
        fitted = _fit(_raw(np.linspace(0, 13, 50)), np.full(50, error), 30.0)
        sure = _sure(fitted, _raw(np.linspace(0, 13, 50)))
        assert np.isfinite(sure).all() and ((sure >= 0) & (sure <= 1)).all()


def _calibration_pictures(count, seed=0):
    random = np.random.default_rng(seed)
    true = random.uniform((-180, 0, -6), (180, 30, 6), (count, 3))
    margins, errors = _drawn(count, 0.6, -0.5, seed)
    raw = np.concatenate([true, _raw(margins)[:, 3:]], axis=1)
    raw[errors > 90, 0] += 180.0
    return raw, true


def test_calibration_fits_it_from_thirty_pictures_and_keeps_it_in_json():
    raw, true = _calibration_pictures(100)
    fitted = calibration.fit(own_angles(raw), true, calibration.LINEAR)
    assert fitted.confidence is not None and fitted.confidence.within_deg == 15.0
    again = Calibration.from_json(fitted.to_json())
    assert again == fitted
    np.testing.assert_array_equal(_sure(again.confidence, raw), _sure(fitted.confidence, raw))
    assert (
        calibration.fit(own_angles(raw), true, calibration.CIRCULAR).confidence.within_deg == 30.0
    )
    assert calibration.fit(own_angles(raw[:29]), true[:29]).confidence is None
    assert calibration.fit(own_angles(raw[:, :3]), true).confidence is None
    assert _sure(None, raw) is None


@pytest.mark.parametrize(
    "broken",
    [
        {"margin_slope": "much", "head_slope": 0.0, "offset": 0.0},
        {"margin_slope": -1.0, "head_slope": 0.0, "offset": 0.0},
        {"margin_slope": 1.0, "head_slope": 0.0, "offset": float("nan")},
        {"margin_slope": 1.0},
        {"margin_slope": 1.0, "head_slope": 0.0, "offset": 0.0, "within_deg": 0.0},
        {"slope": 1.0},
        7,
    ],
)
def test_a_damaged_confidence_is_refused_by_the_calibrations_name(broken):
    data = json.loads(Calibration.identity().to_json()) | {"confidence": broken}
    with pytest.raises(UserError, match=r"mine\.json is no calibration"):
        Calibration.from_json(json.dumps(data), "mine.json")


def test_reliability_of_a_hand_made_case():
    sure = np.array([0.1, 0.1, 0.9, 0.9])
    right = np.array([False, False, True, False])
    found = confidence.reliability(sure, right, bins=2)
    assert found["bins"] == [
        {"pictures": 2, "confidence": pytest.approx(0.1), "right": 0.0},
        {"pictures": 2, "confidence": pytest.approx(0.9), "right": 0.5},
    ]
    assert found["expected_calibration_error"] == pytest.approx((0.1 + 0.4) / 2)


def test_risk_falls_as_the_unsure_are_refused():
    sure = np.linspace(0, 1, 10)
    errors = np.linspace(100, 1, 10)
    rows = confidence.risk_coverage(sure, errors, 30.0)
    assert [row["coverage"] for row in rows] == pytest.approx(np.arange(1, 11) / 10)
    assert rows[0] == {
        "coverage": 0.1, "median_error_deg": 1.0, "right": 1.0, "confidence_from": 1.0,
    }  # fmt: skip
    assert rows[-1]["right"] == pytest.approx(0.3)
    assert rows[-1]["median_error_deg"] == pytest.approx(50.5)


def _mostly_fronts(count, seed):
    """V that calls everything front, on 80 % fronts: right for fronts alone."""
    random = np.random.default_rng(seed)
    front = random.random(count) < 0.8
    margins = random.uniform(0.0, 6.0, count)
    weights = np.where(front, 0.5 / front.mean(), 0.5 / (1 - front.mean()))
    return _raw(margins), np.where(front, 5.0, 175.0), weights


def test_ends_that_are_not_told_apart_take_the_confidence_down():
    raw, errors, weights = _mostly_fronts(100, 0)
    plain, even = (_fit(raw, errors, 30.0, w) for w in (None, weights))
    assert even.even_ends and not plain.even_ends
    raw, errors, weights = _mostly_fronts(4000, 1)
    scored = [confidence.score(_sure(c, raw), errors, 30.0, weights) for c in (plain, even)]
    ours = [s["expected_calibration_error_even"] for s in scored]
    assert ours[0] > 0.2 > 0.12 > ours[1]
    assert scored[0]["expected_calibration_error"] < 0.12 < scored[1]["expected_calibration_error"]
    assert "fitted so" in confidence.of_even(scored[1] | {"even_ends": True})


def test_ends_that_are_told_apart_change_nothing():
    margins, errors = _drawn(300, 0.5, -1.0)
    weights = np.where(np.arange(300) % 5 == 0, 2.5, 0.625)
    raw = _raw(margins)
    assert _fit(raw, errors, 30.0, weights) == _fit(raw, errors, 30.0)


def test_even_ends_survive_json_and_others_write_what_they_wrote():
    even = Confidence(0.5, 0.0, -1.0, even_ends=True)
    assert confidence.from_dict(even.to_dict()) == even
    assert set(Confidence(0.5, 0.0, -1.0).to_dict()) == {
        "margin_slope", "head_slope", "offset", "within_deg",
    }  # fmt: skip
