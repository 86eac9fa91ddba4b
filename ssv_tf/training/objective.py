"""The whole training objective of V and S (SSV section 3), a block per loss.

Backend-neutral: an engine gives the random numbers and the gradient of realness with respect to
pictures, and differentiates what comes out.
"""

import math

from keras import ops

from ssv_tf.models import encoding
from ssv_tf.training import augment, losses, prior

# Likenesses (cosines) this far apart make a drawing e times as credible.
_QUADRANT_TEMPERATURE = 0.03


class Objective:
    """Losses of V (S frozen) and of S (V frozen) for one micro-batch.

    Args:
      options: config.Options.
      analysis, synthesis: the networks.
      features: frozen perceptual features, [b, r, r, 3] -> [b, n].
      realness_gradient: function (realness, pictures) -> gradient of sum(realness(pictures)).
      teacher: V's average, for --teacher_weight.
    """

    def __init__(self, options, analysis, synthesis, features, realness_gradient, teacher=None):
        self.options, self.analysis, self.synthesis = options, analysis, synthesis
        self.teacher = teacher
        self.features, self.realness_gradient = features, realness_gradient
        self.low_rad, self.high_rad = viewpoint_range_rad(options)
        self.encoding = analysis.encoding

    # --- Random numbers ----------------------------------------------------------------------

    def analysis_draws(self, batch):
        """Random numbers `analysis_loss` needs: name -> (kind, shape), batch first."""
        shapes = {
            "style": ("normal", (batch, 2 * self.options.code_size)),
            "viewpoint": ("uniform", (batch, 3)),
            "mix": ("uniform", (batch, 1, 1, 1)),
        }
        for name in ("real", "mirrored", "fake"):
            shapes |= _prefixed(name, augment.draw_shapes(batch, self.options.resolution))
        return shapes

    def synthesis_draws(self, batch):
        """Random numbers `synthesis_loss` needs; `batch` pictures are batch / 2 triplets."""
        pairs, code = batch // 2, 2 * self.options.code_size
        shapes: dict = {}
        for name in ("first", "second"):
            shapes[f"style_{name}"] = ("normal", (pairs, code))
            shapes[f"viewpoint_{name}"] = ("uniform", (pairs, 3))
        for name in ("a", "b", "c"):
            shapes |= _prefixed(name, augment.draw_shapes(pairs, self.options.resolution))
        return shapes

    def viewpoints(self, uniform, log_density=None):
        """Viewpoints of the prior from uniform numbers in [-1, 1], [batch, 3].

        Args:
          uniform: [batch, 3].
          log_density: [3, bins] as `prior.start`, or None for a uniform prior.
        """
        share = 0.5 * (uniform + 1.0)
        if log_density is not None:
            share = prior.sample(share, log_density)
        return self.low_rad + (self.high_rad - self.low_rad) * share

    def _shares(self, angles):
        """Where angles lie in their drawn ranges, 0 to 1."""
        wide = ops.maximum(self.high_rad - self.low_rad, 1e-6)
        return (angles - self.low_rad) / wide

    def codes(self, style):
        """A style [b, 2 code_size] as the pair (z1, z2)."""
        return ops.split(style, 2, axis=-1)

    def _augmented(self, pictures, draws, name):
        own = {key: draws[f"{name}_{key}"] for key in ("place", "light", "noise")}
        return augment.augment(pictures, own, self.options.augment)

    # --- V's step ----------------------------------------------------------------------------

    def draw_fakes(self, draws):
        """S's pictures for V's step; call it outside the gradient."""
        style = draws["style"]
        angles = self.viewpoints(draws["viewpoint"], draws.get("prior"))
        return self.synthesis([*self.codes(style), angles])

    def analysis_loss(self, real, fake, draws, penalise, taught=False):
        """V's loss with S frozen.

        Args:
          real: [b, r, r, 3]. fake: `draw_fakes(draws)`.
          draws: as `analysis_draws`.
          penalise: whether this step carries the lazy R1 penalty.
          taught: whether V's average teaches in this step.

        Returns:
          (loss, parts by name, unweighted).
        """
        o = self.options
        parts: dict = {}
        views = [
            self._augmented(real, draws, "real"),
            self._augmented(losses.mirror_pictures(real), draws, "mirrored"),
            self._augmented(fake, draws, "fake"),
        ]
        seen = self.analysis(ops.concatenate(views, axis=0), training=True)
        on_real, on_mirrored, on_fake = _split(seen, 3)

        # 1. Adversarial.
        loss = 0.0
        if o.adversarial_weight:
            adversarial = self._adversarial(on_real, on_fake, views, draws, penalise, parts)
            loss += o.adversarial_weight * adversarial
        # 2. Generative consistency, on pictures whose viewpoint and style S was given.
        angles = self.viewpoints(draws["viewpoint"], draws.get("prior"))
        parts["v_viewpoint"] = losses.viewpoint_consistency(on_fake, angles, self.encoding)
        parts["v_style"] = losses.style_consistency(on_fake, draws["style"])
        loss += o.viewpoint_weight * parts["v_viewpoint"] + o.style_weight * parts["v_style"]
        # 3. Symmetry, on real pictures.
        parts["v_symmetry"] = losses.symmetry(on_real, on_mirrored)
        loss += o.symmetry_weight * parts["v_symmetry"]
        if o.prior_rate:
            parts["prior_change"] = prior.change(
                self._shares(angles), on_fake["realness"], draws["prior"], o.mirror_data
            )
        if taught:
            wanted = self._taught(real)
            flipped = encoding.mirror_azimuth_quadrants(wanted)
            c = o.teacher_confidence
            parts["v_teacher"] = 0.5 * (
                losses.quadrant_of_teacher(on_real, wanted, c)
                + losses.quadrant_of_teacher(on_mirrored, flipped, c)
            )
            parts["sure"] = ops.mean(ops.cast(ops.max(wanted, axis=-1) > c, "float32"))
            loss += o.teacher_weight * parts["v_teacher"]
        # 4. Image consistency through the frozen S, on half of the batch (the same expectation).
        if o.image_weight:
            half = real.shape[0] // 2
            parts["v_image"] = self._image_consistency(real[:half], _first(on_real, half))
            loss += o.image_weight * parts["v_image"]
        if o.quadrant_weight:
            some = real.shape[0] // 4
            parts["v_quadrant"] = self._quadrant_choice(real[:some], _first(on_real, some))
            loss += o.quadrant_weight * parts["v_quadrant"]
        return loss, parts

    def _adversarial(self, on_real, on_fake, views, draws, penalise, parts):
        o, real, fake = self.options, on_real["realness"], on_fake["realness"]
        parts["real_score"], parts["fake_score"] = ops.mean(real), ops.mean(fake)
        if o.adversarial == "wgan_gp":
            mix = 0.5 * (draws["mix"] + 1.0)
            mixed = views[0] + mix * (views[2] - views[0])
            gradient = self.realness_gradient(self.analysis.realness, mixed)
            parts["v_adversarial"] = losses.wasserstein_analysis(real, fake)
            parts["v_penalty"] = losses.gradient_penalty(gradient)
            penalty = o.gradient_penalty_weight * parts["v_penalty"]
            return parts["v_adversarial"] + penalty + o.drift_weight * losses.drift(real)
        parts["v_adversarial"] = losses.logistic_analysis(real, fake)
        if not penalise:
            return parts["v_adversarial"]
        gradient = self.realness_gradient(self.analysis.realness, views[0])
        parts["v_penalty"] = losses.r1_penalty(gradient)
        lazy = o.gradient_penalty_weight * o.r1_interval
        return parts["v_adversarial"] + lazy * parts["v_penalty"]

    def _taught(self, real):
        """Azimuth's quadrant of real pictures as V's average sees them and their mirror images."""
        both = ops.concatenate([real, losses.mirror_pictures(real)], axis=0)
        seen = _split(self.teacher.viewpoint(both), 2)
        straight, mirrored = (ops.softmax(one["quadrant_logits"][:, 0], axis=-1) for one in seen)
        mirrored = encoding.mirror_azimuth_quadrants(mirrored)
        return ops.stop_gradient(0.5 * (straight + mirrored))

    def _image_consistency(self, real, on_real):
        angles = self.analysis.angles_rad(on_real)
        drawn = self.synthesis([*self.codes(on_real["style"]), angles])
        return losses.image_consistency(self.features(real), self.features(drawn))

    def _quadrant_choice(self, real, on_real):
        """Azimuth's quadrant against the one whose drawing resembles the picture most.

        The four quadrants of one (cos^2, sin^2) are a viewpoint, its half circle and the mirror
        images of both. No gradient flows into the drawings.
        """
        style = ops.stop_gradient(on_real["style"])
        made = self.synthesis.make(*self.codes(style))
        angles = ops.stop_gradient(self.analysis.angles_rad(on_real))
        wanted, alike = self.features(real), []
        for azimuth in encoding.quadrant_azimuths(angles[:, 0]):
            seen_from = ops.concatenate([azimuth[:, None], angles[:, 1:]], axis=1)
            drawn = self.features(self.synthesis.draw(made, seen_from))
            alike.append(losses.likeness(wanted, drawn))
        target = ops.softmax(ops.stop_gradient(ops.stack(alike, axis=1)) / _QUADRANT_TEMPERATURE)
        return losses.quadrant_distance(on_real, target)

    # --- S's step ----------------------------------------------------------------------------

    def synthesis_loss(self, draws):
        """S's loss with V frozen, on triplets (z1, v1), (z1, v2), (z2, v1).

        Returns:
          (loss, parts by name, unweighted).
        """
        o = self.options
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
        shown = [self._augmented(p, draws, name) for p, name in zip(pictures, "abc", strict=True)]
        seen = self.analysis(ops.concatenate(shown, axis=0))

        # 1. Adversarial.
        wasserstein = o.adversarial == "wgan_gp"
        adversarial = losses.wasserstein_synthesis if wasserstein else losses.logistic_synthesis
        parts["s_adversarial"] = adversarial(seen["realness"])
        loss = o.synthesis_adversarial_weight * parts["s_adversarial"]
        # 2. Generative consistency on the triplets, and the paired terms.
        parts["s_viewpoint"] = losses.viewpoint_consistency(seen, angles, self.encoding)
        parts["s_style"] = losses.style_consistency(seen, codes)
        loss += o.synthesis_viewpoint_weight * parts["s_viewpoint"]
        loss += o.synthesis_style_weight * parts["s_style"]
        if o.pair_weight:
            a, b, c = _split(seen, 3)
            parts["s_pair"] = losses.same_viewpoint(a, c) + losses.same_style(a, b)
            loss += o.pair_weight * parts["s_pair"]
        # 3. Symmetry.
        if o.synthesis_symmetry_weight:
            mirrored = self.synthesis.draw(first, encoding.mirror(views[0]))
            parts["s_symmetry"] = losses.synthesis_symmetry(pictures[0], mirrored)
            loss += o.synthesis_symmetry_weight * parts["s_symmetry"]
        return loss, parts


def viewpoint_range_rad(options):
    """Lowest and highest drawn [azimuth, elevation, tilt], radians."""
    low_rad, high_rad = _range_rad(options)
    return ops.convert_to_tensor(low_rad, "float32"), ops.convert_to_tensor(high_rad, "float32")


def angle_encoding(options):
    """The encoding.Encoding of a run: the drawn ranges stretched, or plain."""
    return encoding.Encoding.of_range(*_range_rad(options)) if options.stretch else encoding.PLAIN


def _range_rad(o):
    low = (-o.azimuth_range_deg, o.elevation_min_deg, -o.tilt_range_deg)
    high = (o.azimuth_range_deg, o.elevation_max_deg, o.tilt_range_deg)
    return [[math.radians(angle) for angle in side] for side in (low, high)]


def _prefixed(name, shapes):
    return {f"{name}_{key}": value for key, value in shapes.items()}


def _split(prediction, parts):
    """A prediction for stacked batches as one prediction for each."""
    split = {key: ops.split(value, parts, axis=0) for key, value in prediction.items()}
    return [{key: value[i] for key, value in split.items()} for i in range(parts)]


def _first(prediction, count):
    return {key: value[:count] for key, value in prediction.items()}


def _part(tensors, index, parts):
    return tuple(ops.split(tensor, parts, axis=0)[index] for tensor in tensors)


def _join(*parts):
    return tuple(ops.concatenate(tensors, axis=0) for tensors in zip(*parts, strict=True))
