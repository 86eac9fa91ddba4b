"""The losses, one pure function each (SSV section 3 and its supplement).

All take float32 tensors and return a scalar: the mean over the batch. A `prediction` is what
AnalysisNetwork returns. None of them stops a gradient unless its docstring says so; which
network learns from a loss is decided in `training/step.py`.
"""

from collections.abc import Mapping

from keras import ops

from ssv_tf.base.types import Tensor
from ssv_tf.models.encoding import PLAIN, Encoding, encode, mirror_prediction

Prediction = Mapping[str, Tensor]

# --- Adversarial -----------------------------------------------------------------------------


def wasserstein_analysis(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """V's adversarial loss, Gulrajani et al. 2017 equation 3, first two terms: fake - real."""
    return ops.mean(fake_scores) - ops.mean(real_scores)


def wasserstein_synthesis(fake_scores: Tensor) -> Tensor:
    """S's adversarial loss: -realness of its pictures."""
    return -ops.mean(fake_scores)


def gradient_penalty(gradient: Tensor) -> Tensor:
    """Gulrajani et al. 2017 equation 3, last term without lambda: (|gradient| - 1)^2.

    Args:
      gradient: of the realness with respect to pictures mixed by a factor drawn uniformly from
        [0, 1] per picture, [batch, r, r, 3].
    """
    norm = ops.sqrt(ops.sum(ops.square(gradient), axis=(1, 2, 3)) + 1e-12)
    return ops.mean(ops.square(norm - 1.0))


def drift(real_scores: Tensor) -> Tensor:
    """Karras et al. 2018 appendix A.1: squared real scores, so that they do not wander off."""
    return ops.mean(ops.square(real_scores))


def logistic_analysis(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Non-saturating logistic loss of V, Goodfellow et al. 2014 equation 1."""
    return ops.mean(ops.softplus(fake_scores)) + ops.mean(ops.softplus(-real_scores))


def logistic_synthesis(fake_scores: Tensor) -> Tensor:
    """Non-saturating logistic loss of S."""
    return ops.mean(ops.softplus(-fake_scores))


def r1_penalty(gradient: Tensor) -> Tensor:
    """R1 of Mescheder et al. 2018 equation 9 without gamma / 2: |gradient|^2 at real pictures."""
    return ops.mean(ops.sum(ops.square(gradient), axis=(1, 2, 3)))


# --- Viewpoint and style ---------------------------------------------------------------------


def viewpoint_distance(prediction: Prediction, magnitudes: Tensor, quadrants: Tensor) -> Tensor:
    """SSV equations 3 and 4: soft cross-entropy of the magnitudes and of the quadrant.

    The magnitudes' own entropy is taken off, so that a perfect prediction costs 0 and not a
    number that depends on the angle.

    Args:
      prediction: magnitude_logits [batch, 3, 2] and quadrant_logits [batch, 3, 4].
      magnitudes: target (cos^2, sin^2), [batch, 3, 2].
      quadrants: target class probabilities, [batch, 3, 4].
    """
    magnitude = _divergence(magnitudes, prediction["magnitude_logits"])
    quadrant = _divergence(quadrants, prediction["quadrant_logits"])
    return ops.mean(magnitude + quadrant)


def viewpoint_consistency(
    prediction: Prediction, angles_rad: Tensor, encoding: Encoding = PLAIN
) -> Tensor:
    """SSV section 3.1, generative consistency: V finds the viewpoint S drew, [batch, 3] rad."""
    magnitudes, quadrants = encode(angles_rad, encoding)
    return viewpoint_distance(prediction, magnitudes, quadrants)


def style_consistency(prediction: Prediction, style: Tensor) -> Tensor:
    """SSV section 3.1, generative consistency: mean squared error of z, [batch, style_size]."""
    return ops.mean(ops.square(prediction["style"] - style))


def symmetry(prediction: Prediction, mirrored_prediction: Prediction) -> Tensor:
    """SSV section 3.1, symmetry: V(mirror(x)) agrees with V(x), mirrored and held fixed.

    Args:
      prediction: V(x); no gradient flows into it.
      mirrored_prediction: V(mirror(x)), which learns.
    """
    magnitude, quadrant = mirror_prediction(
        prediction["magnitude_logits"], prediction["quadrant_logits"]
    )
    return viewpoint_distance(
        mirrored_prediction,
        ops.stop_gradient(ops.softmax(magnitude, axis=-1)),
        ops.stop_gradient(ops.softmax(quadrant, axis=-1)),
    )


def same_viewpoint(first: Prediction, second: Prediction) -> Tensor:
    """Paired consistency of S: two pictures drawn from one viewpoint get one prediction."""
    return viewpoint_distance(
        first,
        ops.stop_gradient(ops.softmax(second["magnitude_logits"], axis=-1)),
        ops.stop_gradient(ops.softmax(second["quadrant_logits"], axis=-1)),
    )


def same_style(first: Prediction, second: Prediction) -> Tensor:
    """Paired consistency of S: two pictures drawn with one style get one predicted style."""
    return ops.mean(ops.square(first["style"] - second["style"]))


# --- Pictures --------------------------------------------------------------------------------


def likeness(features: Tensor, drawn_features: Tensor) -> Tensor:
    """cos(phi(x), phi(S(V(x)))) of SSV equation 5, [batch, n] features each -> [batch]."""
    return ops.sum(_unit(ops.stop_gradient(features)) * _unit(drawn_features), axis=-1)


def image_consistency(features: Tensor, drawn_features: Tensor) -> Tensor:
    """SSV equation 5: -cos(phi(x), phi(S(V(x)))), [batch, n] features each."""
    return -ops.mean(likeness(features, drawn_features))


def synthesis_symmetry(picture: Tensor, mirrored_viewpoint_picture: Tensor) -> Tensor:
    """SSV section 3.2, symmetry: S(z, mirror(v)) looks like mirror(S(z, v)), held fixed.

    Smooth L1 (Girshick 2015 equation 3).

    Args:
      picture: S(z, v), [batch, r, r, 3]; mirrored here, no gradient flows into it.
      mirrored_viewpoint_picture: S(z, mirror(v)), which learns.
    """
    target = ops.stop_gradient(mirror_pictures(picture))
    distance = ops.abs(mirrored_viewpoint_picture - target)
    return ops.mean(ops.where(distance < 1.0, 0.5 * ops.square(distance), distance - 0.5))


def mirror_pictures(pictures: Tensor) -> Tensor:
    """Left-right mirror images of [batch, height, width, channels]."""
    return ops.flip(pictures, axis=2)


def confidence(
    logit: Tensor, azimuth_rad: Tensor, target_rad: Tensor, within_rad: float
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of a student's word on whether its azimuth is right.

    Args:
      logit: log odds that it is, [batch, 1].
      azimuth_rad: its azimuths, [batch]; no gradient reaches them.
      target_rad: the azimuths to meet, [batch], any multiple of 2 pi more or less.
      within_rad: an error up to this counts as right.

    Returns:
      the loss, and the share of right azimuths.
    """
    error_rad = ops.stop_gradient(azimuth_rad) - target_rad
    error_rad = ops.abs(ops.arctan2(ops.sin(error_rad), ops.cos(error_rad)))
    right = ops.cast(error_rad <= within_rad, "float32")
    log_odds = logit[:, 0]
    return ops.mean(ops.softplus(log_odds) - right * log_odds), ops.mean(right)


def _divergence(target: Tensor, logits: Tensor) -> Tensor:
    """Cross-entropy of softmax(logits) under `target` less the target's entropy, [batch, 3]."""
    surprise = -ops.log_softmax(logits, axis=-1)
    log_target = ops.log(ops.maximum(target, 1e-12))
    return ops.sum(target * (surprise + log_target), axis=-1)


def _unit(vectors: Tensor) -> Tensor:
    norm = ops.sqrt(ops.sum(ops.square(vectors), axis=-1, keepdims=True) + 1e-12)
    return vectors / norm
