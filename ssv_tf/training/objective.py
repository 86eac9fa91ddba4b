"""The whole training objective of V and S (SSV section 3), a block per loss.

Backend-neutral: an engine gives the random numbers and the gradient of realness with respect to
pictures, and differentiates what comes out.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras import ops

from ssv_tf.base.types import Tensor
from ssv_tf.config import parts
from ssv_tf.config.method import DRIFT_WEIGHT, R1_INTERVAL, Method
from ssv_tf.models import encoding
from ssv_tf.models.analysis import AnalysisNetwork
from ssv_tf.models.synthesis import SynthesisNetwork
from ssv_tf.training import augment, losses, prior


class Objective:
    """Losses of V (S frozen) and of S (V frozen) for one micro-batch.

    Args:
      analysis, synthesis: the networks.
      features: frozen perceptual features, [b, r, r, 3] -> [b, n].
      realness_gradient: function (realness, pictures) -> gradient of sum(realness(pictures)).
      losses: weights.
      viewpoints: what S draws.
      method: what is the same in every run of this objective.
      mirror_data: whether a mirrored picture shows such an object too.
    """

    def __init__(
        self,
        *,
        analysis: AnalysisNetwork,
        synthesis: SynthesisNetwork,
        features: Any,
        realness_gradient: Callable,
        losses: parts.Losses,
        viewpoints: parts.ViewpointRange,
        method: Method,
        mirror_data: bool = True,
    ) -> None:
        self.analysis, self.synthesis = analysis, synthesis
        self.features, self.realness_gradient = features, realness_gradient
        self.weights, self.method, self.mirror_data = losses, method, mirror_data
        self.learns_prior = viewpoints.prior_rate > 0
        self.low_rad, self.high_rad = viewpoint_range_rad(viewpoints)
        self.encoding = analysis.encoding

    # --- Random numbers ----------------------------------------------------------------------

    def analysis_draws(self, batch: int) -> augment.DrawShapes:
        """Random numbers `analysis_loss` needs: name -> (kind, shape), batch first."""
        shapes = {
            "style": ("normal", (batch, 2 * self.synthesis.code_size)),
            "viewpoint": ("uniform", (batch, 3)),
            "mix": ("uniform", (batch, 1, 1, 1)),
        }
        for name in ("real", "mirrored", "fake"):
            shapes |= _prefixed(name, augment.draw_shapes(batch, self.analysis.resolution))
        return shapes

    def synthesis_draws(self, batch: int) -> augment.DrawShapes:
        """Random numbers `synthesis_loss` needs; `batch` pictures are batch / 2 triplets."""
        pairs, code = batch // 2, 2 * self.synthesis.code_size
        shapes: dict = {}
        for name in ("first", "second"):
            shapes[f"style_{name}"] = ("normal", (pairs, code))
            shapes[f"viewpoint_{name}"] = ("uniform", (pairs, 3))
        for name in ("a", "b", "c"):
            shapes |= _prefixed(name, augment.draw_shapes(pairs, self.analysis.resolution))
        return shapes

    def viewpoints(self, uniform: Tensor, log_density: Tensor = None) -> Tensor:
        """Viewpoints of the prior from uniform numbers in [-1, 1], [batch, 3].

        Args:
          uniform: [batch, 3].
          log_density: [3, bins] as `prior.start`, or None for a uniform prior.
        """
        share = 0.5 * (uniform + 1.0)
        if log_density is not None:
            share = prior.sample(share, log_density)
        return self.low_rad + (self.high_rad - self.low_rad) * share

    def _shares(self, angles: Tensor) -> Tensor:
        """Where angles lie in their drawn ranges, 0 to 1."""
        wide = ops.maximum(self.high_rad - self.low_rad, 1e-6)
        return (angles - self.low_rad) / wide

    def codes(self, style: Tensor) -> list[Tensor]:
        """A style [b, 2 code_size] as the pair (z1, z2)."""
        return ops.split(style, 2, axis=-1)

    def _augmented(self, pictures: Tensor, draws: Mapping[str, Tensor], name: str) -> Tensor:
        picture_draws = {key: draws[f"{name}_{key}"] for key in ("place", "light", "noise")}
        return augment.augment(pictures, picture_draws, self.method.augment)

    # --- V's step ----------------------------------------------------------------------------

    def draw_fakes(self, draws: Mapping[str, Tensor]) -> Tensor:
        """S's pictures for V's step; call it outside the gradient."""
        style = draws["style"]
        angles = self.viewpoints(draws["viewpoint"], draws.get("prior"))
        return self.synthesis([*self.codes(style), angles])

    def analysis_loss(
        self,
        real: Tensor,
        fake: Tensor,
        draws: Mapping[str, Tensor],
        penalise: bool,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """V's loss with S frozen.

        Args:
          real: [b, r, r, 3]. fake: `draw_fakes(draws)`.
          draws: as `analysis_draws`.
          penalise: whether this step carries the lazy R1 penalty.

        Returns:
          (loss, parts by name, unweighted).
        """
        weights = self.weights
        parts: dict = {}
        views = [
            self._augmented(real, draws, "real"),
            self._augmented(losses.mirror_pictures(real), draws, "mirrored"),
            self._augmented(fake, draws, "fake"),
        ]
        seen = self.analysis(ops.concatenate(views, axis=0), training=True)
        on_real, on_mirrored, on_fake = _split(seen, 3)

        # 1. Adversarial.
        loss = self._adversarial(on_real, on_fake, views, draws, penalise, parts)
        # 2. Generative consistency, on pictures whose viewpoint and style S was given.
        angles = self.viewpoints(draws["viewpoint"], draws.get("prior"))
        parts["v_viewpoint"] = losses.viewpoint_consistency(on_fake, angles, self.encoding)
        parts["v_style"] = losses.style_consistency(on_fake, draws["style"])
        style = self.method.style_weight * parts["v_style"]
        loss += weights.viewpoint_weight * parts["v_viewpoint"] + style
        # 3. Symmetry, on real pictures.
        if self.mirror_data:
            parts["v_symmetry"] = losses.symmetry(on_real, on_mirrored)
            loss += self.method.symmetry_weight * parts["v_symmetry"]
        if self.learns_prior:
            parts["prior_change"] = prior.change(
                self._shares(angles), on_fake["realness"], draws["prior"], self.mirror_data
            )
        # 4. Image consistency through the frozen S, on half of the batch (the same expectation).
        if weights.image_weight:
            half = real.shape[0] // 2
            parts["v_image"] = self._image_consistency(real[:half], _first(on_real, half))
            loss += weights.image_weight * parts["v_image"]
        return loss, parts

    def _adversarial(
        self,
        on_real: losses.Prediction,
        on_fake: losses.Prediction,
        views: list[Tensor],
        draws: Mapping[str, Tensor],
        penalise: bool,
        parts: dict[str, Tensor],
    ) -> Tensor:
        real, fake = on_real["realness"], on_fake["realness"]
        weight = self.weights.gradient_penalty_weight
        parts["real_score"], parts["fake_score"] = ops.mean(real), ops.mean(fake)
        if self.method.wasserstein:
            mix = 0.5 * (draws["mix"] + 1.0)
            mixed = views[0] + mix * (views[2] - views[0])
            gradient = self.realness_gradient(self.analysis.realness, mixed)
            parts["v_adversarial"] = losses.wasserstein_analysis(real, fake)
            parts["v_penalty"] = losses.gradient_penalty(gradient)
            penalty = weight * parts["v_penalty"]
            return parts["v_adversarial"] + penalty + DRIFT_WEIGHT * losses.drift(real)
        parts["v_adversarial"] = losses.logistic_analysis(real, fake)
        if not penalise:
            return parts["v_adversarial"]
        gradient = self.realness_gradient(self.analysis.realness, views[0])
        parts["v_penalty"] = losses.r1_penalty(gradient)
        lazy = weight * R1_INTERVAL
        return parts["v_adversarial"] + lazy * parts["v_penalty"]

    def _image_consistency(self, real: Tensor, on_real: losses.Prediction) -> Tensor:
        angles = self.analysis.angles_rad(on_real)
        drawn = self.synthesis([*self.codes(on_real["style"]), angles])
        return losses.image_consistency(self.features(real), self.features(drawn))

    # --- S's step ----------------------------------------------------------------------------

    def synthesis_loss(self, draws: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """S's loss with V frozen, on triplets (z1, v1), (z1, v2), (z2, v1).

        Returns:
          (loss, parts by name, unweighted).
        """
        weights, method = self.weights, self.method
        parts: dict = {}
        styles = draws["style_first"], draws["style_second"]
        views = [
            self.viewpoints(draws[f"viewpoint_{name}"], draws.get("prior"))
            for name in ("first", "second")
        ]
        made = self.synthesis.make(*self.codes(ops.concatenate(styles, axis=0)))
        first, second = (_part(made, i, 2) for i in (0, 1))
        triplet = [(styles[0], views[0]), (styles[0], views[1]), (styles[1], views[0])]
        codes, angles = (ops.concatenate(column, axis=0) for column in zip(*triplet, strict=True))
        drawn = self.synthesis.draw(_join(first, first, second), angles)
        pictures = ops.split(drawn, 3, axis=0)
        augmented = [
            self._augmented(p, draws, name) for p, name in zip(pictures, "abc", strict=True)
        ]
        seen = self.analysis(ops.concatenate(augmented, axis=0))

        # 1. Adversarial.
        wasserstein, logistic = losses.wasserstein_synthesis, losses.logistic_synthesis
        adversarial = wasserstein if method.wasserstein else logistic
        loss = adversarial(seen["realness"])
        parts["s_adversarial"] = loss
        # 2. Generative consistency on the triplets, and the paired terms.
        parts["s_viewpoint"] = losses.viewpoint_consistency(seen, angles, self.encoding)
        parts["s_style"] = losses.style_consistency(seen, codes)
        loss += weights.synthesis_viewpoint_weight * parts["s_viewpoint"]
        loss += method.synthesis_style_weight * parts["s_style"]
        if method.pair_weight:
            a, b, c = _split(seen, 3)
            parts["s_pair"] = losses.same_viewpoint(a, c) + losses.same_style(a, b)
            loss += method.pair_weight * parts["s_pair"]
        # 3. Symmetry.
        if method.synthesis_symmetry_weight:
            mirrored = self.synthesis.draw(first, encoding.mirror(views[0]))
            parts["s_symmetry"] = losses.synthesis_symmetry(pictures[0], mirrored)
            loss += method.synthesis_symmetry_weight * parts["s_symmetry"]
        return loss, parts


def viewpoint_range_rad(viewpoints: parts.ViewpointRange) -> tuple[Tensor, Tensor]:
    """Lowest and highest drawn [azimuth, elevation, tilt], radians."""
    low_rad, high_rad = _range_rad(viewpoints)
    return ops.convert_to_tensor(low_rad, "float32"), ops.convert_to_tensor(high_rad, "float32")


def angle_encoding(viewpoints: parts.ViewpointRange) -> encoding.Encoding:
    """The encoding of a run: narrow ranges stretched over most of a half circle."""
    return encoding.Encoding.of_range(*_range_rad(viewpoints))


def _range_rad(viewpoints: parts.ViewpointRange) -> list[list[float]]:
    sides = viewpoints.low_deg, viewpoints.high_deg
    return [[math.radians(angle) for angle in side] for side in sides]


def _prefixed(name: str, shapes: augment.DrawShapes) -> augment.DrawShapes:
    return {f"{name}_{key}": value for key, value in shapes.items()}


def _split(prediction: losses.Prediction, parts: int) -> list[dict[str, Tensor]]:
    """A prediction for stacked batches as one prediction for each."""
    split = {key: ops.split(value, parts, axis=0) for key, value in prediction.items()}
    return [{key: value[i] for key, value in split.items()} for i in range(parts)]


def _first(prediction: losses.Prediction, count: int) -> dict[str, Tensor]:
    return {key: value[:count] for key, value in prediction.items()}


def _part(tensors: Sequence[Tensor], index: int, parts: int) -> tuple[Tensor, ...]:
    return tuple(ops.split(tensor, parts, axis=0)[index] for tensor in tensors)


def _join(*parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(ops.concatenate(tensors, axis=0) for tensors in zip(*parts, strict=True))
