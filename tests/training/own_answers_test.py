"""The labels that a student makes of its own answers."""

import numpy as np
import pytest

from ssv_tf.training import own_answers
from ssv_tf.training.self_training import PseudoLabels


def _answers(azimuth_deg, right, slant_deg=None):
    """Answers with the probability `right` of the true quadrant, the rest half a circle away."""
    cosine, sine = np.cos(np.radians(azimuth_deg)), np.sin(np.radians(azimuth_deg))
    if slant_deg is None:
        slant_deg = np.degrees(np.arctan2(np.abs(sine), np.abs(cosine)))
    magnitudes = np.full((len(cosine), 3, 2), 0.5)
    magnitudes[:, 0, 0] = np.cos(np.radians(slant_deg)) ** 2
    magnitudes[:, 0, 1] = 1.0 - magnitudes[:, 0, 0]
    quadrants = np.full((len(cosine), 3, 4), 0.25)
    true = np.eye(4)[(sine < 0) * 2 + (cosine < 0)]
    right = np.broadcast_to(right, len(cosine))[:, None]
    quadrants[:, 0] = right * true + (1.0 - right) * true[:, ::-1]
    return PseudoLabels(magnitudes, quadrants)


def _azimuths(count=1200, seed=0):
    return np.random.default_rng(seed).uniform(-180.0, 180.0, count)


def test_even_slants_are_as_frequent_everywhere():
    np.testing.assert_allclose(own_answers.even_slants(3), [15.0, 45.0, 75.0])


def test_spread_slants_keep_their_order():
    labels = _answers(_azimuths(), 1.0)
    squeezed = labels.with_slant(45.0 + 0.5 * (labels.slant_deg - 45.0))
    spread = own_answers.spread(squeezed, labels.slant_deg)
    np.testing.assert_allclose(spread.slant_deg, labels.slant_deg, atol=1e-4)
    np.testing.assert_array_equal(spread.quadrants, labels.quadrants)
    np.testing.assert_array_equal(spread.magnitudes[:, 1:], labels.magnitudes[:, 1:])


def test_angles_lie_between_those_of_student_and_labels_and_ends_are_the_students():
    rng = np.random.default_rng(2)
    azimuth_deg = _azimuths()
    slants_deg = _answers(azimuth_deg, 1.0).slant_deg
    noisy = [np.clip(slants_deg + rng.normal(0.0, 8.0, len(slants_deg)), 0, 90) for _ in range(2)]
    first = _answers(azimuth_deg, 0.2, np.sort(slants_deg)[np.argsort(np.argsort(noisy[0]))])
    answers = _answers(azimuth_deg, 0.9, noisy[1])
    first.magnitudes[:, 1:] = (0.9, 0.1)
    first.quadrants[:, 1:] = (0.85, 0.05, 0.05, 0.05)
    averaged = own_answers.averaged(answers, first)
    errors = [np.std(labels.slant_deg - slants_deg) for labels in (answers, first, averaged)]
    assert errors[2] < 0.8 * min(errors[:2])
    np.testing.assert_allclose(np.sort(averaged.slant_deg), np.sort(first.slant_deg), atol=1e-4)
    np.testing.assert_array_equal(averaged.quadrants[:, 0], answers.quadrants[:, 0])
    np.testing.assert_allclose(averaged.magnitudes[:, 1:], [[[0.7, 0.3]] * 2] * len(slants_deg))
    np.testing.assert_allclose(averaged.quadrants[:, 1:, 0], 0.55)


def test_directions_decide_where_the_student_is_uncertain_and_no_end_on_view():
    azimuth_deg = _azimuths()
    rng = np.random.default_rng(1)
    right = np.where(rng.random(len(azimuth_deg)) < 0.7, 0.55, 0.45)  # nearly a coin
    answers = _answers(azimuth_deg, right)
    differences = rng.normal(0.0, 0.05, (len(azimuth_deg), 60))
    differences[:, 0] += np.sin(np.radians(azimuth_deg))
    differences[:, 1] += 0.7 * np.sin(2.0 * np.radians(azimuth_deg))
    settled = own_answers.settled(answers, answers, differences)
    end_on = answers.slant_deg < 20.0
    np.testing.assert_array_equal(settled.quadrants[end_on], answers.quadrants[end_on])
    np.testing.assert_allclose(settled.quadrants.sum(axis=2), 1.0)
    slanting = answers.slant_deg > 30.0
    before, after = (
        np.mean((labels.left > 0.5)[slanting] == (azimuth_deg > 0)[slanting])
        for labels in (answers, settled)
    )
    assert before < 0.75 and after > 0.97
    fronts = np.mean((settled.front > 0.5)[slanting] == (np.abs(azimuth_deg) < 90)[slanting])
    assert fronts > 0.97  # the other quadrant that the student thinks possible, and no third


def test_a_certain_answer_outweighs_a_direction():
    labels = _answers(np.array([45.0, 45.0]), np.array([0.999, 0.6]))
    weighed = labels.weighed_with_left(np.array([0.05, 0.05]), np.array([True, True]))
    assert weighed.left[0] > 0.9 and weighed.left[1] < 0.1


def test_without_views_from_the_side_the_answers_stay(capsys):
    azimuth_deg = np.random.default_rng(0).uniform(-40.0, 40.0, 100)
    answers = _answers(azimuth_deg, 0.9)
    settled = own_answers.settled(answers, answers, np.ones((100, 5)))
    np.testing.assert_array_equal(settled.quadrants, answers.quadrants)
    assert "left and right stay as the student has them" in capsys.readouterr().out


@pytest.mark.parametrize("slant_deg", [0.0, 30.0, 90.0])
def test_other_slants_are_those_asked_for(slant_deg):
    labels = _answers(np.array([10.0]), 1.0).with_slant(np.array([slant_deg]))
    np.testing.assert_allclose(labels.slant_deg, slant_deg, atol=1e-5)
