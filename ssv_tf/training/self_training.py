"""A student with ImageNet features learns V's answers as pseudo-labels, on changed backgrounds.

V answers the pictures as they are, each with its mirror image; the student looks at larger
ones, moved, zoomed, relit, and with other pictures behind what was cut out on black. So it keeps
V's angles and not its habits of black. Where V covers the full circle, `training.ends` first
settles which end of the object a picture shows.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from ssv_tf import viewpoint
from ssv_tf.base.types import Shape, Tensor
from ssv_tf.data import cutouts, framing
from ssv_tf.models import inference
from ssv_tf.training import losses

_FRONT = np.array(viewpoint.QUADRANT_SIGNS)[:, 0] > 0
# Quadrants whose two signs agree; half a circle leads from one of them to the other.
_DIAGONAL = np.array(viewpoint.QUADRANT_SIGNS).prod(axis=1) > 0
_LEFT = np.array(viewpoint.QUADRANT_SIGNS)[:, 1] > 0
SIDE_ON_DEG = 68.0  # from here on an end says nothing about left and right
# Quadrant of the mirrored picture: azimuth and tilt change the sign of sin, elevation stays.
_FLIPPED = np.array([viewpoint.QUADRANT_SIGNS.index((c, -s)) for c, s in viewpoint.QUADRANT_SIGNS])
_ZOOM, _SHIFT = (0.85, 1.25), 0.06
_LITTLE_ZOOM, _LITTLE_SHIFT = (0.94, 1.1), 0.02  # of pictures that are moved little
_MARGIN = 0.25  # of the side, around a picture that is moved
_PLAIN, _GREY = 0.2, 0.3  # shares of pictures left as they are, and put on mid-grey
_MID_GREY = 128


@dataclasses.dataclass(frozen=True)
class Rounds:
    """How a student that has learnt V's answers goes on.

    Attributes:
      rounds: of answering pictures and learning from the answers.
      steps: of each round, whole hundreds.
      rate: AdamW's highest learning rate.
    """

    rounds: int
    steps: int
    rate: float = 5e-4


@dataclasses.dataclass(frozen=True)
class PseudoLabels:
    """V's answers to pictures as probabilities.

    Attributes:
      magnitudes: (cos^2, sin^2) of each angle, [n, 3, 2].
      quadrants: of each angle, [n, 3, 4].
    """

    magnitudes: np.ndarray
    quadrants: np.ndarray

    def __getitem__(self, index: np.ndarray) -> "PseudoLabels":
        """Some of the pictures."""
        return PseudoLabels(self.magnitudes[index], self.quadrants[index])

    @property
    def slant_deg(self) -> np.ndarray:
        """Azimuth's angle from the mirror plane, 0 (end-on) to 90 (side-on), [n]."""
        cosine, sine = np.sqrt(self.magnitudes[:, 0]).T
        return np.degrees(np.arctan2(sine, cosine))

    @property
    def front(self) -> np.ndarray:
        """Probability of the half that V calls the front, [n]."""
        return self.quadrants[:, 0, _FRONT].sum(axis=1)

    @property
    def left(self) -> np.ndarray:
        """Probability that the object points to what V calls image left, [n]."""
        return self.quadrants[:, 0, _LEFT].sum(axis=1)

    @property
    def diagonal(self) -> np.ndarray:
        """Probability that the azimuth modulo half a circle is below 90 degrees, [n]."""
        return self.quadrants[:, 0, _DIAGONAL].sum(axis=1)

    def with_front(self, front: np.ndarray) -> "PseudoLabels":
        """The same modulo half a circle, with other probabilities [n] of the front half.

        An outline gives the azimuth modulo half a circle: who takes one end for the other also
        takes left for right. Views from the side stay as they are: which end is nearer says
        nothing about left and right there.
        """
        return self._with_signs(front, _FRONT, self.slant_deg < SIDE_ON_DEG, self.diagonal)

    def with_left(self, left: np.ndarray, where: np.ndarray) -> "PseudoLabels":
        """The same modulo half a circle, with other probabilities [n] of left, `where` [n]."""
        return self._with_signs(left, _LEFT, where, self.diagonal)

    def weighed_with_left(self, left: np.ndarray, where: np.ndarray) -> "PseudoLabels":
        """Quadrants times other, independent evidence of left [n], `where` [n] (Bayes' rule)."""
        quadrants = self.quadrants.copy()
        evidence = np.where(_LEFT, left[:, None], 1.0 - left[:, None])
        weighed = quadrants[:, 0] * evidence
        weighed /= weighed.sum(axis=1, keepdims=True)
        quadrants[where, 0] = weighed[where]
        return PseudoLabels(self.magnitudes, quadrants)

    def with_axis(self, diagonal: np.ndarray, front: np.ndarray) -> "PseudoLabels":
        """The same slants with other probabilities [n] of the diagonal and of the front half."""
        return self._with_signs(front, _FRONT, np.ones(len(front), bool), diagonal)

    def with_slant(self, slant_deg: np.ndarray) -> "PseudoLabels":
        """The same with other slants [n]."""
        magnitudes = self.magnitudes.copy()
        squared = np.cos(np.radians(slant_deg)) ** 2
        magnitudes[:, 0] = np.stack([squared, 1.0 - squared], axis=-1)
        return PseudoLabels(magnitudes, self.quadrants)

    def _with_signs(
        self,
        probability: np.ndarray,
        positive: np.ndarray,
        where: np.ndarray,
        diagonal: np.ndarray,
    ) -> "PseudoLabels":
        quadrants = self.quadrants.copy()
        for i in range(4):
            of_sign = probability if positive[i] else 1.0 - probability
            of_diagonal = diagonal if _DIAGONAL[i] else 1.0 - diagonal
            quadrants[:, 0, i] = np.where(where, of_sign * of_diagonal, quadrants[:, 0, i])
        return PseudoLabels(self.magnitudes, quadrants)

    def mirrored(self) -> "PseudoLabels":
        """Of the mirrored pictures: (azimuth, elevation, tilt) -> (-azimuth, elevation, -tilt)."""
        quadrants = self.quadrants.copy()
        for i in (0, 2):
            quadrants[:, i] = self.quadrants[:, i][:, _FLIPPED]
        return PseudoLabels(self.magnitudes, quadrants)

    def coded_rad(self) -> np.ndarray:
        """The angle that each code stands for, before an Encoding's range is undone, [n, 3]."""
        roots = np.sqrt(self.magnitudes)
        signs = np.array(viewpoint.QUADRANT_SIGNS)[self.quadrants.argmax(axis=2)]
        return np.arctan2(roots[..., 1] * signs[..., 1], roots[..., 0] * signs[..., 0])

    def azimuth_rad(self) -> np.ndarray:
        """The likeliest azimuth in V's own angle where the full circle is encoded, [n]."""
        return self.coded_rad()[:, 0]

    def angles_deg(self, encoding: Any) -> np.ndarray:
        """The likeliest angles in degrees, [n, 3], by V's models.encoding.Encoding."""
        stretched = self.coded_rad() / np.asarray(encoding.stretch)
        return np.degrees(stretched + np.asarray(encoding.centre_rad))


def pseudo_labels(network: Any, pictures: np.ndarray, mirror: bool = True) -> PseudoLabels:
    """V's answers to pictures, each averaged with the mirror image's if `mirror`.

    Args:
      network: AnalysisNetwork.
      pictures: uint8 [n, r, r, 3] at its resolution.
      mirror: whether a mirrored object is an object of the kind.
    """
    labels = _answers(network, pictures)
    if not mirror:
        return labels
    other = _answers(network, pictures[:, :, ::-1]).mirrored()
    return PseudoLabels(
        (labels.magnitudes + other.magnitudes) / 2, (labels.quadrants + other.quadrants) / 2
    )


def _answers(network: Any, pictures: np.ndarray) -> PseudoLabels:
    raw = inference.predict(network, pictures)
    return PseudoLabels(_softmax(raw.magnitude_logits), _softmax(raw.quadrant_logits))


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def mean_weights(sets: Sequence[list[np.ndarray]]) -> list[np.ndarray]:
    """Means over sets of one network's weights; of whole numbers, such as a seed, the last set's.

    Sets along one training lie near each other, and their mean errs less than each of them
    (Izmailov et al. 2018).
    """
    return [
        np.mean(weights, axis=0) if np.issubdtype(weights[-1].dtype, np.floating) else weights[-1]
        for weights in zip(*sets, strict=True)
    ]


class SelfTraining(keras.Model):
    """The student with its loss; fit with `batches`.

    Args:
      student: StudentNetwork.
      within_deg: an azimuth as near to the pseudo-label counts as right, for the confidence.
    """

    def __init__(self, student: keras.Model, within_deg: float) -> None:
        super().__init__(name="self_training")
        self.student = student
        self.within_rad = float(np.radians(within_deg))
        self.means = {name: keras.metrics.Mean(name=name) for name in ("viewpoint", "within")}

    def build(self, input_shape: Shape | None = None) -> None:
        self.built = True

    def call(self, inputs: Mapping[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        """The student's answers to `inputs["pictures"]`, [b, r, r, 3] in [-1, 1]."""
        return self.student(inputs["pictures"], training=training)

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """Soft cross-entropy of the viewpoint code, and of the confidence."""
        viewpoint_loss = losses.viewpoint_distance(y_pred, x["magnitudes"], x["quadrants"])
        azimuth_rad = self.student.angles_rad(y_pred)[:, 0]
        target_rad = x["azimuth_rad"] / self.student.encoding.stretch[0]
        confidence_loss, share_right = losses.confidence(
            y_pred["confidence_logit"], azimuth_rad, target_rad, self.within_rad
        )
        self.means["viewpoint"].update_state(viewpoint_loss)
        self.means["within"].update_state(share_right)
        return viewpoint_loss + confidence_loss

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(self.means.values())


def batches(
    layers: np.ndarray,
    labels: PseudoLabels,
    behind: np.ndarray,
    resolution: int,
    batch_size: int,
    mirror: bool,
    seed: int,
    step: int = 0,
    odds: np.ndarray | None = None,
    little: bool = False,
) -> Iterator[tuple[dict[str, np.ndarray]]]:
    """Endless batches of changed pictures with their pseudo-labels.

    Args:
      layers: uint8 [n, S, S, 4], of `data.cutouts.layer`.
      labels: of the same pictures.
      behind: pictures to put behind cut-outs, uint8 [m, S, S, 3].
      resolution: side of the student's pictures.
      batch_size: pictures a step.
      mirror: half of the pictures are mirrored.
      seed, step: every batch is a function of the two; `step` is the first one's number.
      odds: of each picture to be drawn, [n], summing to 1; None: all alike.
      little: they are moved and zoomed a third as much.

    Yields:
      ({"pictures" [b, r, r, 3] in [-1, 1], "magnitudes", "quadrants", "azimuth_rad"},).
    """
    flipped = labels.mirrored()
    azimuths = labels.azimuth_rad(), flipped.azimuth_rad()
    while True:
        rng = np.random.default_rng((seed, step))
        if odds is None:
            indices = rng.integers(0, len(layers), batch_size)
        else:
            indices = rng.choice(len(layers), batch_size, p=odds)
        turned = (rng.random(batch_size) < 0.5) if mirror else np.zeros(batch_size, bool)
        pictures = _changed(layers[indices], behind, resolution, rng, little)
        pictures[turned] = pictures[turned, :, ::-1]
        pairs = (
            ("magnitudes", labels.magnitudes, flipped.magnitudes),
            ("quadrants", labels.quadrants, flipped.quadrants),
            ("azimuth_rad", *azimuths),
        )
        targets = {
            name: np.where(
                turned.reshape(-1, *[1] * (original.ndim - 1)), mirrored[indices], original[indices]
            ).astype(np.float32)
            for name, original, mirrored in pairs
        }
        yield ({"pictures": pictures} | targets,)
        step += 1


def _changed(
    layers: np.ndarray,
    behind: np.ndarray,
    resolution: int,
    rng: np.random.Generator,
    little: bool = False,
) -> np.ndarray:
    """Moved, zoomed, on other backgrounds, relit and noisy: float32 [b, r, r, 3]."""
    n, side = len(layers), layers.shape[1]
    zoom, shift = (_LITTLE_ZOOM, _LITTLE_SHIFT) if little else (_ZOOM, _SHIFT)
    margin = round(side * _MARGIN)
    padded = np.pad(layers, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    sizes = side * rng.uniform(*zoom, n)
    middles = side / 2 + margin + side * rng.uniform(-shift, shift, (n, 2))
    front = _resized(padded, middles, sizes, resolution)
    spread = rng.uniform(0.3, 0.9, n) * side
    free = (side - spread)[:, None] * rng.random((n, 2)) + spread[:, None] / 2
    back = _resized(behind[rng.integers(0, len(behind), n)], free, spread, resolution)
    kind = rng.random(n)
    back[kind < _PLAIN] = 0
    back[(kind >= _PLAIN) & (kind < _PLAIN + _GREY)] = _MID_GREY
    pictures = framing.to_network(cutouts.over(front, back))
    pictures = cutouts.relit(pictures, 0.12, 0.06, rng)
    noise = np.abs(rng.normal(0.0, 0.05, (n, 1, 1, 1))) * rng.standard_normal(pictures.shape)
    return np.clip(pictures + noise, -1.0, 1.0).astype(np.float32)


def _resized(squares: np.ndarray, middles: np.ndarray, sizes: np.ndarray, side: int) -> np.ndarray:
    """Square windows of pictures by middle (row, column) and size: uint8 [n, side, side, c]."""
    half = sizes[:, None] / 2
    return cutouts.windows(squares, np.concatenate([middles - half, middles + half], axis=1), side)
