"""Which photos in surroundings a student learns from, and how often."""

import numpy as np
import pytest

from ssv_tf import viewpoint
from ssv_tf.training import scenes
from ssv_tf.training.self_training import PseudoLabels

_FRONT = np.array(viewpoint.QUADRANT_SIGNS)[:, 0] > 0


def _labels(front, slant_deg):
    slant = np.radians(slant_deg)
    magnitudes = np.zeros((len(front), 3, 2))
    magnitudes[:, 0] = np.stack([np.cos(slant) ** 2, np.sin(slant) ** 2], axis=1)
    front = np.asarray(front)[:, None]
    quadrants = np.full((len(front), 3, 4), 0.25)
    quadrants[:, 0] = np.where(_FRONT, front, 1.0 - front) / 2.0
    return PseudoLabels(magnitudes, quadrants)


def test_the_surest_of_either_end_join_by_the_share_of_fronts():
    front = np.linspace(0.01, 0.99, 100)
    odds, settled = scenes.confident_ends(_labels(front, np.full(100, 10.0)), 0.8, 0)
    # Half of the photos join: 40 of 80 fronts, 10 of 20 rears.
    np.testing.assert_array_equal(np.flatnonzero(odds), [*range(10), *range(60, 100)])
    np.testing.assert_allclose(settled.front[:10], 0.03)
    np.testing.assert_allclose(settled.front[60:], 0.97)
    np.testing.assert_allclose(odds[:10].sum(), odds[60:].sum())
    np.testing.assert_allclose(odds.sum(), 1.0)
    later, _ = scenes.confident_ends(_labels(front, np.full(100, 10.0)), 0.8, 9)
    assert (later > 0).sum() == 85


def test_each_slant_has_both_ends_or_is_left_out():
    front = np.tile([0.05, 0.95], 40)
    slant = np.repeat([10.0, 60.0], 40)
    front[40:] = np.where(np.arange(40) < 2, 0.05, 0.95)  # slanting: two rears
    odds, _ = scenes.confident_ends(_labels(front, slant), 0.75, 9)
    assert odds[40:].sum() == 0 and odds[:40].sum() == pytest.approx(1.0)
    fronts, rears = odds[:40][front[:40] > 0.5].sum(), odds[:40][front[:40] < 0.5].sum()
    assert fronts == pytest.approx(rears)


def test_what_v_calls_the_front_may_be_the_rarer_end():
    front = np.linspace(0.01, 0.99, 100) ** 3  # a fifth are called front
    odds, _ = scenes.confident_ends(_labels(front, np.full(100, 10.0)), 0.8, 0)
    np.testing.assert_array_equal(np.flatnonzero(odds), [*range(40), *range(90, 100)])


def test_of_views_from_the_side_as_many_join_that_point_left_as_right():
    labels = _labels(
        np.r_[np.tile([0.05, 0.95], 10), np.full(80, 0.5)], np.repeat([10, 85], [20, 80])
    )
    left = np.r_[np.full(20, 0.5), np.full(20, 0.9), np.full(50, 0.1), np.full(10, 0.6)]
    labels = labels.with_left(left, np.arange(100) >= 20)
    odds, settled = scenes.confident_ends(labels, 0.5, 9)
    assert odds[20:40].sum() == pytest.approx(odds[40:90].sum()) and not odds[90:].any()
    assert odds[20:40].all() and odds[40:90].all()
    np.testing.assert_allclose(settled.left[20:], left[20:])


def test_a_rare_end_is_not_repeated_without_bound():
    front = np.r_[np.full(6, 0.02), np.full(600, 0.98)]
    odds, _ = scenes.confident_ends(_labels(front, np.full(606, 10.0)), 0.98, 9)
    assert odds.max() / np.median(odds[odds > 0]) <= 8.0 + 1e-9


def test_photos_of_one_end_alone_are_refused():
    with pytest.raises(ValueError, match="no slant has 5 photos of either end"):
        scenes.confident_ends(_labels(np.full(20, 0.9), np.full(20, 10.0)), 0.99, 0)


def test_batches_of_two_feeds_lie_behind_each_other():
    one = iter([({"a": np.zeros((2, 3))},), ({"a": np.ones((2, 3))},)])
    other = iter([({"a": np.full((1, 3), 7.0)},)])
    batches = list(scenes.joined(one, other))
    assert len(batches) == 1 and batches[0][0]["a"].tolist() == [[0] * 3, [0] * 3, [7] * 3]
