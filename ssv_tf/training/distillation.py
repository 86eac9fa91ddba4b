"""A student learns V's answers, on pictures that nobody labelled (Hinton et al. 2015).

Teacher and student look at one and the same augmented view ("consistent and patient", Beyer et al.
2022), each at its own size. Where V learnt from mirrored pictures, a picture and its mirror image
come as a pair: their two answers are averaged into one soft target for both, which keeps V's
symmetry and is better than either. S adds pictures whose viewpoint is known. Backend-neutral;
`keras.Model.fit` trains it.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from ssv_tf.base.types import Shape, Tensor
from ssv_tf.config import parts
from ssv_tf.models import encoding
from ssv_tf.models.analysis import AnalysisNetwork
from ssv_tf.models.student import StudentNetwork
from ssv_tf.models.synthesis import SynthesisNetwork
from ssv_tf.training import augment, losses
from ssv_tf.training.objective import viewpoint_range_rad


class Distiller(keras.Model):
    """The student with everything that teaches it; call and fit with real pictures alone.

    Args:
      student: StudentNetwork, the one that learns.
      teacher: AnalysisNetwork.
      synthesis: SynthesisNetwork, or None for no drawn pictures.
      viewpoints: what S draws.
      mirror_data: whether V learnt from mirrored pictures.
      augment_strength: of what both see.
      right_within_deg: an azimuth this near the teacher's is right.
      drawn: pictures S adds to every batch.
      mirror_weight: of the student's own agreement on a picture and its mirror image.
      seed: of everything random.
    """

    def __init__(
        self,
        *,
        student: StudentNetwork,
        teacher: AnalysisNetwork,
        synthesis: SynthesisNetwork | None,
        viewpoints: parts.ViewpointRange,
        mirror_data: bool,
        augment_strength: float,
        right_within_deg: float,
        drawn: int,
        mirror_weight: float,
        seed: int,
    ) -> None:
        super().__init__(name="distiller")
        self.student, self.teacher, self.synthesis = student, teacher, synthesis
        teacher.trainable = False
        if synthesis is not None:
            synthesis.trainable = False
        self.mirror_weight, self.augment_strength = mirror_weight, augment_strength
        self.drawn = drawn if synthesis is not None else 0
        self.paired = mirror_data
        self.low_rad, self.high_rad = viewpoint_range_rad(viewpoints)
        self.within_rad = float(np.radians(right_within_deg))
        self.random = keras.random.SeedGenerator(seed)
        names = ("viewpoint", "mirror", "confidence", "within")
        self.means = {name: keras.metrics.Mean(name=name) for name in names}

    def build(self, input_shape: Shape | None = None) -> None:
        self.built = True

    def call(self, pictures: Tensor, training: bool = False) -> dict[str, Any]:
        """Answers and targets for `compute_loss`.

        Args:
          pictures: real ones at the student's size, [b, r, r, 3] in [-1, 1].

        Returns:
          student: its answers to b + drawn views and, of pairs, then to the mirror images;
          magnitudes, quadrants: soft targets of the same; azimuth_rad: what counts as right.
        """
        count = ops.shape(pictures)[0]
        drawn, known_rad = self._draw()
        plain = pictures if drawn is None else ops.concatenate([pictures, drawn])
        if self.paired:
            plain = ops.concatenate([plain, losses.mirror_pictures(plain)])
        views = ops.stop_gradient(self._augmented(plain))
        targets = [ops.stop_gradient(t) for t in self._targets(views, known_rad, count)]
        answers = self.student(views, training=training)
        return {"student": answers} | dict(
            zip(("magnitudes", "quadrants", "azimuth_rad"), targets, strict=True)
        )

    def _draw(self) -> tuple[Tensor, Tensor]:
        """S's pictures at the student's size and their viewpoints, or None twice."""
        if self.synthesis is None or not self.drawn:
            return None, None
        shape = (self.drawn, self.synthesis.code_size)
        z1, z2 = (keras.random.normal(shape, seed=self.random) for _ in range(2))
        share = keras.random.uniform((self.drawn, 3), seed=self.random)
        angles = self.low_rad + (self.high_rad - self.low_rad) * share
        pictures = ops.clip(self.synthesis([z1, z2, angles]), -1.0, 1.0)
        side = self.student.resolution
        return ops.image.resize(pictures, (side, side), interpolation="bilinear"), angles

    def _augmented(self, pictures: Tensor) -> Tensor:
        batch = ops.shape(pictures)[0]
        draw = {"uniform": _uniform, "normal": keras.random.normal}
        shapes = augment.draw_shapes(batch, self.student.resolution)
        draws = {
            name: draw[kind](shape, seed=self.random) for name, (kind, shape) in shapes.items()
        }
        return augment.augment(pictures, draws, self.augment_strength)

    def _targets(self, views: Tensor, known_rad: Tensor, count: Tensor) -> list[Tensor]:
        """Soft targets of all views, and the azimuths that count as right.

        An azimuth is right where it is the teacher's answer to that very view, not to the pair:
        where the teacher contradicts itself on the mirror image, nobody can be sure.
        """
        seen = self.teacher.viewpoint(_shrunk(views, self.teacher.resolution))
        azimuth_rad = self._halves(self.teacher.angles_rad(seen)[:, 0])
        code = [self._halves(ops.softmax(seen[name], axis=-1)) for name in _NAMES]
        target = [halves[0] for halves in code]
        if self.paired:
            back = encoding.mirror_prediction(*(halves[1] for halves in code))
            target = [(first + second) / 2 for first, second in zip(target, back, strict=True)]
        if known_rad is not None:
            truth = encoding.encode(known_rad, self.student.encoding)
            target = [_known_last(*pair, count) for pair in zip(target, truth, strict=True)]
            signs = (1.0, -1.0)[: len(azimuth_rad)]
            azimuth_rad = [
                _known_last(angle_rad, sign * known_rad[:, 0], count)
                for angle_rad, sign in zip(azimuth_rad, signs, strict=True)
            ]
        if self.paired:
            mirrored = encoding.mirror_prediction(*target)
            target = [ops.concatenate(pair) for pair in zip(target, mirrored, strict=True)]
        return [*target, ops.concatenate(azimuth_rad)]

    def _halves(self, values: Tensor) -> list[Tensor]:
        """What belongs to the views, and to their mirror images if there are any."""
        return ops.split(values, 2) if self.paired else [values]

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """Soft cross-entropy of the viewpoint code, own mirror agreement, confidence."""
        answers = y_pred["student"]
        viewpoint_loss = losses.viewpoint_distance(
            answers, y_pred["magnitudes"], y_pred["quadrants"]
        )
        mirror_loss = self._disagreement(answers)
        azimuth_rad = self.student.angles_rad(answers)[:, 0]
        confidence_loss, share_right = losses.confidence(
            answers["confidence_logit"], azimuth_rad, y_pred["azimuth_rad"], self.within_rad
        )
        parts = (viewpoint_loss, mirror_loss, confidence_loss, share_right)
        for mean, value in zip(self.means.values(), parts, strict=True):
            mean.update_state(value)
        return viewpoint_loss + self.mirror_weight * mirror_loss + confidence_loss

    def _disagreement(self, answers: Mapping[str, Tensor]) -> Tensor:
        if not self.paired:
            return 0.0
        first, second = ({name: ops.split(answers[name], 2)[i] for name in _NAMES} for i in (0, 1))
        return losses.symmetry(first, second) + losses.symmetry(second, first)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(self.means.values())


_NAMES = ("magnitude_logits", "quadrant_logits")


def _shrunk(pictures: Tensor, side: int) -> Tensor:
    """Means of blocks: [b, r, r, c] -> [b, side, side, c]."""
    factor = pictures.shape[1] // side
    return ops.average_pool(pictures, factor, strides=factor) if factor > 1 else pictures


def _known_last(targets: Tensor, known: Tensor, count: Tensor) -> Tensor:
    """Targets of `count` real pictures by the teacher, of the drawn ones as S drew them."""
    return ops.concatenate([targets[:count], known])


def _uniform(shape: Shape, seed: keras.random.SeedGenerator) -> Tensor:
    return keras.random.uniform(shape, -1.0, 1.0, seed=seed)
