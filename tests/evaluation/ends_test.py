"""Front told from rear: counted by hand, and never flattered by a collection of fronts."""

import itertools
import json

import numpy as np
import pytest

from ssv_tf import config
from ssv_tf.evaluation import cards, ends, metrics, scoring
from ssv_tf.evaluation.calibration import Calibration


def _azimuths(fronts, rears, sides=0, seed=0):
    random = np.random.default_rng(seed)
    parts = [
        random.uniform(-60, 60, fronts),
        180 + random.uniform(-60, 60, rears),
        random.choice([-90, 90], sides) + random.uniform(-29, 29, sides),
    ]
    return np.concatenate(parts)


def test_a_front_is_within_60_degrees_of_0_and_a_rear_within_60_of_180():
    true = np.array([0, 60, -60, 61, -90, 119, 120, -120, 180, 300, 480, np.nan])
    fronts, rears = ends.sides(true)
    assert fronts.tolist() == [True, True, True, *[False] * 6, True, False, False]
    assert rears.tolist() == [*[False] * 6, True, True, True, False, True, False]


def test_balanced_accuracy_is_the_mean_of_both_shares_and_leaves_side_views_out():
    true = np.array([0.0] * 8 + [180.0] * 5 + [90.0] * 20)
    predicted = np.array([10.0] * 6 + [170.0, 90.0] + [-91.0] * 2 + [0.0] * 3 + [0.0] * 20)
    found = ends.score(predicted, true)
    assert (found["fronts"], found["rears"]) == (8, 5)
    assert found["fronts_right"] == pytest.approx(6 / 8), "90 degrees says rear"
    assert found["rears_right"] == pytest.approx(2 / 5)
    assert found["balanced_accuracy"] == pytest.approx((6 / 8 + 2 / 5) / 2)
    for key, (low, high) in found["interval_95"].items():
        assert low <= found[key] <= high


@pytest.mark.parametrize("fronts, rears, told", [(4, 50, False), (50, 4, False), (5, 5, True)])
def test_nothing_is_said_where_an_end_is_missing(fronts, rears, told):
    true = _azimuths(fronts, rears, 30)
    assert (ends.score(true, true) is not None) == told == ends.covered(true)
    assert (ends.even_weights(true) is not None) == told
    score = metrics.score(*[np.stack([true, 0 * true, 0 * true], axis=1)] * 3)
    assert ("front_rear" in score["azimuth"]) == ("commoner_end" in score["azimuth"]) == told


def test_always_saying_front_is_a_coin_however_many_fronts_there_are():
    true = _azimuths(780, 220)
    found = ends.score(np.zeros(1000), true)
    assert found["balanced_accuracy"] == 0.5 and found["auc"] == 0.5
    assert "not told apart" in ends.doubts(np.zeros(1000), true)[0]


def test_auc_counts_pairs_and_ties_for_half():
    random = np.random.default_rng(0)
    positive, negative = random.integers(0, 6, 30), random.integers(0, 5, 17)
    pairs = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(positive, negative)]
    assert ends.auc(positive, negative) == pytest.approx(np.mean(pairs))
    assert ends.auc(np.arange(5) + 9.0, np.arange(5)) == 1.0


def test_frontness_orders_what_a_hard_decision_cannot():
    true = _azimuths(50, 50)
    frontness = np.where(np.abs(true) < 90, 0.4, 0.1)  # right in order, and never decided
    found = ends.score(np.full(100, 180.0), true, frontness)
    assert found["auc"] == 1.0 and found["balanced_accuracy"] == 0.5


def test_the_posterior_is_that_of_two_betas_and_humble_on_five_pictures():
    right = np.ones(5, bool)
    low, high = ends.posterior_interval(right, right)
    assert 0.6 < low < 0.72 and high < 1.0
    low, high = ends.posterior_interval(np.arange(900) % 3 > 0, np.arange(900) % 3 > 0)
    spread = 1.96 * np.sqrt(2 / 9 / 900 / 2)  # normal, for many pictures
    np.testing.assert_allclose([low, high], [2 / 3 - spread, 2 / 3 + spread], atol=0.004)


@pytest.mark.parametrize(
    "right, doubt", [(1.0, ""), (0.85, "told apart for certain"), (0.52, "told apart (")]
)
def test_doubts_follow_the_lower_bound(right, doubt):
    true = np.array([0.0] * 50 + [180.0] * 50)
    turned = np.arange(100) % 50 >= round(50 * right)
    found = ends.doubts(true + 180.0 * turned, true)
    assert bool(found) == bool(doubt) and all(doubt in line for line in found)


def test_the_commoner_end_keeps_the_axis():
    assert ends.commoner(_azimuths(30, 29)) == "front"
    assert ends.commoner(_azimuths(3, 29)) == "rear"
    predicted = np.array([10.0, -170.0, 170.0, 90.0, -80.0])
    np.testing.assert_allclose(ends.folded(predicted, "front"), [10, 10, -10, -90, -80])
    np.testing.assert_allclose(ends.folded(predicted, "rear"), [-170, -170, 170, 90, 100])


def test_even_weights_make_both_halves_weigh_the_same():
    true = _azimuths(300, 40, 60)
    weights = ends.even_weights(true)
    rear = np.abs((true + 180) % 360 - 180) > 90
    assert weights.mean() == pytest.approx(1.0)
    assert weights[rear].sum() == pytest.approx(weights[~rear].sum())


def _score(balanced_right):
    true = np.zeros((400, 3))
    true[:, 0] = _azimuths(300, 100)
    predicted = true.copy()
    wrong = np.random.default_rng(1).random(400) > balanced_right
    predicted[wrong, 0] += 180.0
    return metrics.score(predicted, true, true[:60])


def test_score_table_and_card_tell_the_ends_beside_their_baseline():
    score = json.loads(json.dumps(_score(0.5)))
    commoner = score["azimuth"]["commoner_end"]
    assert commoner["end"] == "front" and commoner["within_30"] == pytest.approx(0.75)
    score |= {"calibrated_on": 60, "doubts": scoring.doubts(Calibration.identity(), score)}
    table = scoring.table(score)
    balanced = score["azimuth"]["front_rear"]["balanced_accuracy"]
    assert "always front" in table and f"front/rear: balanced accuracy {balanced:.3f}" in table
    assert "doubt: azimuth: front and rear are not told apart (balanced accuracy" in table
    lines = "\n".join(cards.score_lines(score, {}))
    assert "| front/rear, balanced accuracy | " in lines and "always called front | 0.75 |" in lines
    limits = cards.automatic_limits(config.Options(), score)
    assert any("front and rear are not told apart" in limit for limit in limits)
    good = _score(1.0)
    assert scoring.doubts(Calibration.identity(), good) == []
    assert not any("told apart" in line for line in cards.automatic_limits(config.Options(), good))


def test_the_scored_pictures_have_the_last_word_on_the_ends():
    fitted = Calibration((1.0,) * 3, (0.0,) * 3, doubts=("azimuth: " + ends.NOT_SEPARATED, "other"))
    assert scoring.doubts(fitted, _score(1.0)) == ["other"]
    assert len(scoring.doubts(fitted, {"azimuth": {}})) == 2
