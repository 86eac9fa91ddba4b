"""Each loss against its equation in NumPy, and which side of it learns."""

import numpy as np
import pytest
import tensorflow as tf

from ssv_tf.models import encoding
from ssv_tf.training import losses

RANDOM = np.random.default_rng(7)
BATCH = 5


def _normal(*shape, scale=1.0):
    return RANDOM.normal(0, scale, shape).astype(np.float32)


def _prediction():
    return {
        "magnitude_logits": tf.constant(_normal(BATCH, 3, 2)),
        "quadrant_logits": tf.constant(_normal(BATCH, 3, 4)),
        "style": tf.constant(_normal(BATCH, 6)),
        "realness": tf.constant(_normal(BATCH, 1)),
    }


def _softmax(x):
    e = np.exp(np.asarray(x, np.float64))
    return e / e.sum(-1, keepdims=True)


def _kl(target, logits):
    target = np.asarray(target, np.float64)
    log = np.log(np.where(target > 0, target, 1.0)) - np.log(_softmax(logits))
    return (target * log).sum(-1)


def _gradients(loss, *predictions):
    """loss(*predictions) and its gradients, dictionaries shaped as the predictions."""
    with tf.GradientTape() as tape:
        tape.watch(predictions)
        value = loss(*predictions)
    return value, tape.gradient(value, predictions)


def _silent(gradient):
    return all(g is None or not np.any(g) for g in gradient.values())


# --- Adversarial -----------------------------------------------------------------------------


def test_adversarial_losses_by_hand():
    real, fake = _normal(8, 1), _normal(8, 1)
    assert float(losses.wasserstein_analysis(real, fake)) == pytest.approx(
        fake.mean() - real.mean(), abs=1e-6
    )
    assert float(losses.wasserstein_synthesis(fake)) == pytest.approx(-fake.mean(), abs=1e-6)
    assert float(losses.drift(real)) == pytest.approx((real**2).mean(), rel=1e-5)
    expected = np.log(1 + np.exp(fake)).mean() + np.log(1 + np.exp(-real)).mean()
    assert float(losses.logistic_analysis(real, fake)) == pytest.approx(expected, rel=1e-5)
    expected = np.log(1 + np.exp(-fake)).mean()
    assert float(losses.logistic_synthesis(fake)) == pytest.approx(expected, rel=1e-5)


def test_logistic_losses_stay_finite_for_extreme_scores():
    scores = np.array([[-1e4], [1e4]], np.float32)
    assert float(losses.logistic_analysis(scores, scores)) == pytest.approx(1e4, rel=1e-5)
    assert float(losses.logistic_synthesis(scores)) == pytest.approx(5e3, rel=1e-5)


@pytest.mark.parametrize("better", ["real", "fake"])
def test_adversaries_pull_opposite_ways(better):
    low, high = np.zeros((4, 1), np.float32), np.ones((4, 1), np.float32)
    if better == "real":  # V is content to score real above drawn
        assert losses.wasserstein_analysis(high, low) < losses.wasserstein_analysis(low, high)
        assert losses.logistic_analysis(high, low) < losses.logistic_analysis(low, high)
    else:  # S is content to be scored high
        assert losses.wasserstein_synthesis(high) < losses.wasserstein_synthesis(low)
        assert losses.logistic_synthesis(high) < losses.logistic_synthesis(low)


def _gradient_of_linear_critic(pictures, slope):
    with tf.GradientTape() as tape:
        tape.watch(pictures)
        scores = tf.reduce_sum(pictures * slope, axis=(1, 2, 3))
    return tape.gradient(scores, pictures)


def test_penalties_of_a_linear_critic_are_those_of_its_slope():
    slope = _normal(4, 4, 3)
    gradient = _gradient_of_linear_critic(tf.constant(_normal(BATCH, 4, 4, 3)), slope)
    norm = np.sqrt((slope.astype(np.float64) ** 2).sum())
    assert float(losses.gradient_penalty(gradient)) == pytest.approx((norm - 1) ** 2, rel=1e-4)
    assert float(losses.r1_penalty(gradient)) == pytest.approx(norm**2, rel=1e-5)
    assert float(losses.gradient_penalty(gradient / norm)) == pytest.approx(0, abs=1e-9)


def test_penalties_average_pictures_and_not_their_gradients():
    gradient = np.zeros((2, 1, 1, 3), np.float32)
    gradient[0, 0, 0] = [3, 0, 0]
    gradient[1, 0, 0] = [-3, 4, 0]
    assert float(losses.gradient_penalty(gradient)) == pytest.approx((2**2 + 4**2) / 2, rel=1e-5)
    assert float(losses.r1_penalty(gradient)) == pytest.approx((9 + 25) / 2, rel=1e-5)


def test_gradient_penalty_of_a_flat_critic_has_a_finite_slope():
    flat = tf.zeros((2, 4, 4, 3))
    with tf.GradientTape() as tape:
        tape.watch(flat)
        penalty = losses.gradient_penalty(flat)
    assert float(penalty) == pytest.approx(1, abs=1e-4)
    assert np.isfinite(tape.gradient(penalty, flat)).all()


# --- Viewpoint and style ---------------------------------------------------------------------


def test_viewpoint_distance_by_hand():
    prediction = _prediction()
    magnitudes, quadrants = _softmax(_normal(BATCH, 3, 2)), _softmax(_normal(BATCH, 3, 4))
    got = losses.viewpoint_distance(
        prediction, magnitudes.astype(np.float32), quadrants.astype(np.float32)
    )
    expected = _kl(magnitudes, prediction["magnitude_logits"])
    expected = expected + _kl(quadrants, prediction["quadrant_logits"])
    assert float(got) == pytest.approx(expected.mean(), rel=1e-4)


def test_viewpoint_consistency_by_hand():
    prediction, angles = _prediction(), RANDOM.uniform(-3, 3, (BATCH, 3)).astype(np.float32)
    magnitudes = np.stack([np.cos(angles) ** 2, np.sin(angles) ** 2], axis=-1)
    quadrant = (np.cos(angles) < 0) + 2 * (np.sin(angles) < 0)
    expected = _kl(magnitudes, prediction["magnitude_logits"])
    expected = expected + _kl(np.eye(4)[quadrant], prediction["quadrant_logits"])
    got = losses.viewpoint_consistency(prediction, angles)
    assert float(got) == pytest.approx(expected.mean(), rel=1e-4)


@pytest.mark.parametrize("degrees", [0, 30, 90, 135, 180, -90, -60])
def test_viewpoint_consistency_of_the_truth_is_zero_and_of_anything_else_is_not(degrees):
    angles = np.full((2, 3), np.radians(degrees), np.float32)
    magnitudes, quadrants = encoding.encode(angles)
    sure = {
        "magnitude_logits": np.log(np.maximum(magnitudes, 1e-12)),
        "quadrant_logits": 40.0 * np.asarray(quadrants),
    }
    assert float(losses.viewpoint_consistency(sure, angles)) == pytest.approx(0, abs=1e-5)
    assert losses.viewpoint_consistency(sure, angles + 0.5) > 0.1


def test_style_losses_by_hand():
    first, second, style = _prediction(), _prediction(), _normal(BATCH, 6)
    got = losses.style_consistency(first, style)
    assert float(got) == pytest.approx(np.mean((first["style"] - style) ** 2), rel=1e-5)
    got = losses.same_style(first, second)
    assert float(got) == pytest.approx(np.mean((first["style"] - second["style"]) ** 2), rel=1e-5)
    assert losses.same_style(first, first) == 0


def test_symmetry_by_hand():
    prediction, mirrored = _prediction(), _prediction()
    # Classes (+,+) and (+,-), (-,+) and (-,-) change places for azimuth and tilt.
    target = _softmax(prediction["quadrant_logits"])
    target[:, [0, 2]] = target[:, [0, 2]][..., [2, 3, 0, 1]]
    expected = _kl(_softmax(prediction["magnitude_logits"]), mirrored["magnitude_logits"])
    expected = expected + _kl(target, mirrored["quadrant_logits"])
    assert float(losses.symmetry(prediction, mirrored)) == pytest.approx(expected.mean(), rel=1e-4)


def test_symmetry_is_zero_for_a_perfectly_mirrored_prediction_only():
    prediction = _prediction()
    magnitude, quadrant = encoding.mirror_prediction(
        prediction["magnitude_logits"], prediction["quadrant_logits"]
    )
    mirrored = {"magnitude_logits": magnitude, "quadrant_logits": quadrant}
    assert float(losses.symmetry(prediction, mirrored)) == pytest.approx(0, abs=1e-6)
    assert losses.symmetry(prediction, prediction) > 0.01


def test_same_viewpoint_is_zero_for_one_prediction_and_positive_for_two():
    first, second = _prediction(), _prediction()
    assert float(losses.same_viewpoint(first, first)) == pytest.approx(0, abs=1e-6)
    expected = _kl(_softmax(second["magnitude_logits"]), first["magnitude_logits"])
    expected = expected + _kl(_softmax(second["quadrant_logits"]), first["quadrant_logits"])
    assert float(losses.same_viewpoint(first, second)) == pytest.approx(expected.mean(), rel=1e-4)


@pytest.mark.parametrize(
    "loss, learner", [(losses.symmetry, 1), (losses.same_viewpoint, 0)], ids=["symmetry", "same"]
)
def test_only_the_documented_side_of_a_viewpoint_pair_learns(loss, learner):
    _, gradients = _gradients(loss, _prediction(), _prediction())
    assert _silent(gradients[1 - learner])
    for name in ("magnitude_logits", "quadrant_logits"):
        assert np.any(gradients[learner][name])


def test_both_sides_of_a_style_pair_learn():
    _, gradients = _gradients(losses.same_style, _prediction(), _prediction())
    assert np.any(gradients[0]["style"]) and np.any(gradients[1]["style"])


def test_consistency_losses_touch_only_their_own_heads():
    angles, style = _normal(BATCH, 3), _normal(BATCH, 6)
    _, (gradient,) = _gradients(lambda p: losses.viewpoint_consistency(p, angles), _prediction())
    assert gradient["style"] is None and gradient["realness"] is None
    assert np.any(gradient["magnitude_logits"]) and np.any(gradient["quadrant_logits"])
    _, (gradient,) = _gradients(lambda p: losses.style_consistency(p, style), _prediction())
    assert gradient["magnitude_logits"] is None and gradient["quadrant_logits"] is None
    assert np.any(gradient["style"])


# --- Pictures --------------------------------------------------------------------------------


def test_image_consistency_is_minus_the_cosine():
    first, second = _normal(BATCH, 9), _normal(BATCH, 9)
    cosine = (first * second).sum(1)
    cosine = cosine / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    assert float(losses.image_consistency(first, second)) == pytest.approx(-cosine.mean(), rel=1e-4)
    assert float(losses.image_consistency(first, 3 * first)) == pytest.approx(-1, abs=1e-5)
    assert float(losses.image_consistency(first, -first)) == pytest.approx(1, abs=1e-5)


def test_image_consistency_teaches_the_drawn_side_only_and_survives_zeros():
    first, second = tf.constant(_normal(BATCH, 9)), tf.zeros((BATCH, 9))
    with tf.GradientTape() as tape:
        tape.watch((first, second))
        value = losses.image_consistency(first, second)
    given, drawn = tape.gradient(value, (first, second))
    assert given is None or not np.any(given)
    assert np.isfinite(drawn).all() and np.any(drawn)


def test_synthesis_symmetry_by_hand_on_both_branches():
    picture = np.zeros((1, 1, 2, 1), np.float32)
    picture[0, 0, :, 0] = [0.25, 2.0]
    other = np.zeros_like(picture)
    other[0, 0, :, 0] = [2.5, 3.25]  # apart from the mirrored (2.0, 0.25) by 0.5 and 3
    expected = (0.5 * 0.5**2 + (3 - 0.5)) / 2
    assert float(losses.synthesis_symmetry(picture, other)) == pytest.approx(expected)


@pytest.mark.parametrize("apart, slope", [(0.4, 0.4), (-0.4, -0.4), (3.0, 1.0), (-3.0, -1.0)])
def test_slope_of_the_smooth_l1_on_both_branches(apart, slope):
    picture = tf.zeros((1, 1, 1, 1))
    other = tf.fill((1, 1, 1, 1), apart)
    with tf.GradientTape() as tape:
        tape.watch((picture, other))
        value = losses.synthesis_symmetry(picture, other)
    held, learns = tape.gradient(value, (picture, other))
    assert held is None or not np.any(held)
    assert learns.numpy().item() == pytest.approx(slope, rel=1e-5)


def test_synthesis_symmetry_of_mirror_images_is_zero():
    picture = _normal(2, 4, 4, 3)
    assert losses.synthesis_symmetry(picture, picture[:, :, ::-1]) == 0
    assert losses.synthesis_symmetry(picture, picture) > 0.01


def test_mirror_pictures_swaps_left_and_right_alone():
    picture = _normal(2, 3, 4, 3)
    np.testing.assert_array_equal(losses.mirror_pictures(picture), picture[:, :, ::-1])


# --- Confidence ------------------------------------------------------------------------------


def test_a_confidence_is_asked_whether_the_azimuth_is_near_on_the_circle():
    azimuth, target = np.radians([[179.0, 10.0, 80.0], [-179.0, 50.0, 440.0]]).astype("f4")
    logit = np.array([[2.0], [-1.0], [0.5]], "f4")
    loss, right = losses.confidence(logit, azimuth, target, float(np.radians(30)))
    probability = 1 / (1 + np.exp(-logit[:, 0]))
    expected = -np.log([probability[0], 1 - probability[1], probability[2]]).mean()
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(right) == pytest.approx(2 / 3)
