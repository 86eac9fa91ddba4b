"""Scores against numbers worked out by hand."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssv_tf.evaluation import metrics


@pytest.mark.parametrize(
    "predicted, true, error",
    [
        (179, -179, 2),
        (-179, 179, 2),
        (180, -180, 0),
        (350, -10, 0),
        (90, -90, 180),
        (0, 181, 179),
        (10, 25, 15),
        (724, 3, 1),
    ],
)
def test_error_takes_the_shorter_way_round(predicted, true, error):
    assert metrics.error_deg(predicted, true) == pytest.approx(error)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-180, 180), st.floats(-180, 180)), min_size=1, max_size=20),
    st.floats(-720, 720),
)
def test_turning_truth_and_prediction_together_keeps_the_error(pairs, turn):
    predicted, true = np.array(pairs).T
    error = metrics.error_deg(predicted, true)
    np.testing.assert_allclose(metrics.error_deg(predicted + turn, true + turn), error, atol=1e-9)
    np.testing.assert_allclose(metrics.error_deg(true, predicted), error, atol=1e-9)
    assert (error >= 0).all() and (error <= 180).all()


def test_summary_counts_edges_as_within():
    result = metrics.summary(np.array([0.0, 10.0, 15.0, 30.0, 95.0]))
    assert result == {
        "median_error_deg": 15.0,
        "mean_error_deg": 30.0,
        "within_10": 0.4,
        "within_15": 0.6,
        "within_30": 0.8,
    }


def test_bins_hold_pictures_by_true_azimuth():
    true = np.array([-180.0, 180.0, -151.0, 0.0, 29.9, 30.0, 179.9, -1e-16])
    predicted = true + np.array([0, 4, 50, 1, 2, 60, 8, 0])
    rows = metrics.azimuth_bins(predicted, true)
    assert [row["pictures"] for row in rows] == [3, 0, 0, 0, 0, 0, 3, 1, 0, 0, 0, 1]
    assert (rows[0]["from_deg"], rows[0]["to_deg"], rows[11]["to_deg"]) == (-180, -150, 180)
    assert rows[0]["median_error_deg"] == pytest.approx(4)
    assert rows[0]["within_30"] == pytest.approx(2 / 3)
    assert rows[7] == {
        "from_deg": 30,
        "to_deg": 60,
        "pictures": 1,
        "median_error_deg": pytest.approx(60),
        "within_30": 0.0,
    }
    assert rows[1]["median_error_deg"] is None and rows[1]["within_30"] is None


def test_confusion_has_true_rows_and_predicted_columns():
    #        front left rear  right right rear front
    true = [0.0, 90.0, 180.0, -90.0, 270.0, -170.0, 44.0]
    #             front left  front right rear   rear   left
    predicted = [-44.0, 46.0, 10.0, -100.0, 150.0, 170.0, 46.0]
    assert metrics.confusion(np.array(predicted), np.array(true)) == [
        [1, 1, 0, 0],
        [0, 1, 0, 0],
        [1, 0, 1, 0],
        [0, 0, 1, 1],
    ]


def test_large_errors_are_told_apart_by_cause():
    true = np.array([60.0, 60.0, 60.0, 60.0, 60.0, 0.0])
    #      small, half circle, front-back, left-right, other (15: 45 off), two causes at once
    predicted = np.array([85.0, -125.0, 118.0, -58.0, 15.0, 178.0])
    assert metrics.large_errors(predicted, true) == {
        "pictures": 5,
        "half_circle": 0.4,
        "mirrored_front_back": 0.4,
        "mirrored_left_right": 0.2,
        "other": 0.2,
    }
    nothing = metrics.large_errors(true, true)
    assert nothing["pictures"] == 0 and nothing["half_circle"] == 0.0


def test_best_constant_finds_the_crowd_across_the_seam():
    crowd = metrics.best_constants(np.array([170.0, 178.0, -174.0, 10.0]))
    assert crowd["median_error_deg"] in (174.0, 175.0, 176.0)
    assert set(metrics.best_constants(np.array([5.0, 5.0, 5.0])).values()) == {5.0}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-180, 180), min_size=1, max_size=12))
def test_no_whole_degree_beats_the_best_constant(true):
    true = np.array(true)
    every = [metrics.summary(metrics.error_deg(c, true)) for c in range(-180, 181)]
    best = metrics.constant_baseline(true, true)
    for key in ("median_error_deg", "mean_error_deg"):
        assert best[key] == pytest.approx(min(row[key] for row in every))
    for key in ("within_10", "within_15", "within_30"):
        assert best[key] == max(row[key] for row in every)


def test_random_guess_over_the_circle_is_a_sixth_within_30():
    result = metrics.random_guess(np.array([12.0, 80.0, -120.0]), -180.0, 180.0)
    assert result["median_error_deg"] == pytest.approx(90, abs=0.6)
    assert result["mean_error_deg"] == pytest.approx(90, abs=0.1)
    assert result["within_30"] == pytest.approx(1 / 6, abs=0.002)


def test_random_guess_over_a_range():
    result = metrics.random_guess(np.array([0.0]), -20.0, 20.0)
    assert result["median_error_deg"] == pytest.approx(10, abs=0.1)
    assert result["within_15"] == pytest.approx(0.75, abs=0.01)


def test_bootstrap_is_seeded_and_surrounds_the_number():
    errors = np.random.default_rng(0).exponential(20, 300)
    first = metrics.bootstrap(errors, seed=5, resamples=300)
    assert first == metrics.bootstrap(errors, seed=5, resamples=300)
    assert first != metrics.bootstrap(errors, seed=6, resamples=300)
    low, high = first["median_error_deg"]
    assert low < np.median(errors) < high
    # Binomial: +-1.96 sqrt(p (1 - p) / n) around the share.
    share = (errors <= 30).mean()
    spread = 1.96 * np.sqrt(share * (1 - share) / 300)
    np.testing.assert_allclose(first["within_30"], [share - spread, share + spread], atol=0.02)


def _turned(count=200):
    random = np.random.default_rng(1)
    true = random.uniform((-180, 0, -5), (180, 20, 5), (count, 3))
    return true, true + random.normal(0, (10, 3, 1), (count, 3))


def test_score_has_the_promised_keys_and_is_json():
    true, predicted = _turned()
    known = np.tile([[40.0, 6.0, 1.0]], (30, 1))
    result = json.loads(json.dumps(metrics.score(predicted, true, known, skipped=3)))
    assert (result["pictures"], result["skipped"]) == (200, 3)
    for i, name in enumerate(["azimuth", "elevation", "tilt"]):
        errors = metrics.error_deg(predicted[:, i], true[:, i])
        assert result[name]["median_error_deg"] == pytest.approx(np.median(errors))
        assert result[name]["mean_error_deg"] == pytest.approx(errors.mean())
        assert result[name]["within_30"] == pytest.approx((errors <= 30).mean())
        low, high = result[name]["interval_95"]["median_error_deg"]
        assert low <= result[name]["median_error_deg"] <= high
    assert result["azimuth"]["baseline"]["constant_deg"] == 40.0
    constant = np.median(metrics.error_deg(40.0, true[:, 0]))
    assert result["azimuth"]["baseline"]["median_error_deg"] == pytest.approx(constant)
    assert result["azimuth"]["random_guess"]["median_error_deg"] == pytest.approx(90, abs=1)
    assert sum(map(sum, result["azimuth"]["confusion"])) == 200
    assert sum(row["pictures"] for row in result["azimuth"]["bins"]) == 200


def test_one_picture_can_be_scored():
    result = metrics.score(np.array([[1.0, 2, 3]]), np.array([[2.0, 4, 6]]), np.zeros((5, 3)))
    assert result["tilt"]["interval_95"]["median_error_deg"] == [3.0, 3.0]


def test_unknown_angles_are_left_out_one_by_one():
    true, predicted = _turned()
    known = true[:30].copy()
    true[50:, 1], true[:, 2], known[:, 1] = np.nan, np.nan, np.nan
    result = json.loads(json.dumps(metrics.score(predicted, true, known), allow_nan=False))
    assert result["tilt"] == {"pictures": 0} and metrics.scored(result) == ["azimuth", "elevation"]
    assert (result["azimuth"]["pictures"], result["elevation"]["pictures"]) == (200, 50)
    errors = np.abs(predicted - true)[:50, 1]
    assert result["elevation"]["median_error_deg"] == pytest.approx(np.median(errors))
    own = metrics.best_constants(true[:50, 1])["median_error_deg"]
    assert result["elevation"]["baseline"]["constant_deg"] == own, "no other label is known"
    true[:, 0] = np.nan
    assert metrics.scored(metrics.score(predicted, true, known)) == ["elevation"]


def test_periodic_scores_leave_out_what_has_no_label():
    true, predicted = _turned()
    values = metrics.periodic(predicted, true)
    assert set(values) == {
        "azimuth_median_deg", "azimuth_within_30", "front_rear_balanced", "elevation_mean_deg",
        "tilt_mean_deg",
    }  # fmt: skip
    assert values["azimuth_within_30"] == np.mean(metrics.error_deg(predicted, true)[:, 0] <= 30)
    true[:, 1:] = np.nan
    assert set(metrics.periodic(predicted, true)) == {
        "azimuth_median_deg", "azimuth_within_30", "front_rear_balanced",
    }  # fmt: skip


def test_errors_within_the_labels_tolerance_are_none_and_baselines_gain_too():
    true = np.zeros((8, 3))
    true[:, 0] = [0, 0, 45, 45, 90, 180, -135, np.nan]
    predicted = true + 0.0
    predicted[:, 0] = [20, -30, 45, 60, 130, -170, 45, 0]
    scored = metrics.score(predicted, true, true, resamples=20, tolerance_deg=22.5)
    azimuth = scored["azimuth"]
    assert azimuth["label_tolerance_deg"] == 22.5 and azimuth["pictures"] == 7
    errors = [0, 7.5, 0, 0, 17.5, 0, 157.5]
    assert azimuth["median_error_deg"] == 0.0
    assert azimuth["mean_error_deg"] == pytest.approx(np.mean(errors))
    assert azimuth["large_errors"]["pictures"] == 1
    assert azimuth["within_tolerance"]["share"] == pytest.approx(4 / 7)
    assert azimuth["within_tolerance"]["constant"] == pytest.approx(2 / 7)
    assert azimuth["within_tolerance"]["random_guess"] == 22.5 / 180
    plain = metrics.score(predicted, true, true, resamples=20)
    assert "within_tolerance" not in plain["azimuth"]
    for baseline in ("baseline", "random_guess"):
        assert azimuth[baseline]["within_30"] > plain["azimuth"][baseline]["within_30"]
    assert scored["elevation"] == plain["elevation"]
    assert sum(map(sum, azimuth["confusion"])) == 7
    [told] = metrics.tolerance_sentence(scored)
    assert "0.57 are within the label's tolerance of 22.5 degrees" in told
    assert metrics.tolerance_sentence(plain) == []
    watched = metrics.periodic(predicted, true, 22.5)
    assert watched["azimuth_median_deg"] == 0.0
