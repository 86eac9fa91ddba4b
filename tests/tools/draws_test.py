"""Scores over draws, and the baselines beside them, on made angles."""

import numpy as np
import pytest

from ssv_tf import viewpoint
from tools import draws


def _true(count=240, seed=0):
    rng = np.random.default_rng(seed)
    return np.column_stack(
        [rng.uniform(-180, 180, count), rng.uniform(-10, 20, count), rng.uniform(-5, 5, count)]
    )


def test_right_answers_score_perfectly_and_reversed_ones_have_no_end_right():
    true = _true()
    perfect = draws.over_draws(lambda known, others: (true[others], None), true, 3, 40)
    assert perfect["pictures"] == 200 and perfect["median_deg"] == 0
    assert perfect["within_30"] == perfect["balanced_accuracy"] == perfect["auc"] == 1
    turned = viewpoint.wrap_deg(true + np.array([180, 0, 0]))
    turned_score = draws.over_draws(lambda known, others: (turned[others], None), true, 3, 40)
    assert turned_score["balanced_accuracy"] == 0 and turned_score["within_30"] == 0
    assert turned_score["spread_within_30"] == 0


def test_no_picture_is_both_calibrated_on_and_scored():
    true = _true()

    def predicted(known, others):
        assert len(known) == 40 and not set(known) & set(others)
        return true[others], None

    draws.over_draws(predicted, true, 4, 40)


def test_angles_that_no_label_tells_are_left_out():
    true = _true()
    true[:, 1:] = np.nan
    score = draws.over_draws(lambda known, others: (true[others], None), true, 2, 40)
    assert {"elevation_deg", "tilt_deg"}.isdisjoint(score)


def test_ridge_regression_learns_angles_that_are_linear_in_the_features():
    true = _true()
    radians = np.radians(true[:, 0])
    rng = np.random.default_rng(1)
    parts = [np.cos(radians), np.sin(radians), true[:, 1] / 90, true[:, 2] / 90]
    features = np.column_stack(parts) @ rng.normal(size=(4, 30)) * 50
    answers = draws.ridge(features[:100], true[:100], features[100:])
    assert np.abs(viewpoint.wrap_deg(answers - true[100:])).max() < 3
    unknown = true[:100].copy()
    unknown[3, 1] = np.nan
    answers = draws.ridge(features[:100], unknown, features[100:])
    assert np.isnan(answers[:, 1]).all() and np.isfinite(answers[:, [0, 2]]).all()


def test_the_best_constant_is_where_most_azimuths_are():
    known = np.full((10, 3), np.nan)
    known[:, 0] = [100, 101, 102, 103, 104, 105, -20, -60, 10, 180]
    constant = draws.best_constant(known)
    assert 75 <= constant[0] <= 130 and np.isnan(constant[1:]).all()


def test_a_table_has_the_columns_that_are_known():
    text = draws.table({"a": {"median_deg": 5.0, "within_30": 0.8}, "b": {"median_deg": 7.25}})
    assert text.splitlines()[0] == "|  | azimuth, median | within 30 |"
    assert text.splitlines()[2:] == ["| a | 5.0 | 0.800 |", "| b | 7.2 |  |"]


@pytest.mark.slow
def test_frozen_features_differ_between_pictures():
    images = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)
    features = draws.imagenet_features(images)
    assert features.shape == (3, 1280) and np.abs(features[0] - features[1]).max() > 0.1
