"""The ceiling: the same V, trained from labels. For reference only; no shipped network is.

It tells how much of an error is V's size and the pictures' resolution, and how much is the price
of learning without labels. S is built and saved as it was drawn, and never trained.
"""

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from ssv_tf import config
from ssv_tf.base.types import Tensor
from ssv_tf.config import parts
from ssv_tf.training import augment, losses
from ssv_tf.training import step as engine
from ssv_tf.training.objective import angle_encoding


def targets_rad(angles_deg: np.ndarray, viewpoints: parts.ViewpointRange) -> np.ndarray:
    """Labels as V's code can hold them: float32 radians [n, 3].

    A stretched code goes around once within 180 degrees / stretch of its centre; what lies
    beyond is moved to that end, so that it is not taught as an angle of the other end.
    """
    encoding = angle_encoding(viewpoints)
    centre, reach = np.array(encoding.centre_rad), np.pi / np.array(encoding.stretch)
    from_centre = np.radians(angles_deg) - centre
    return (centre + np.clip(from_centre, -reach, reach)).astype(np.float32)


def make_trainer(options: config.Options, angles_deg: np.ndarray) -> engine.Trainer:
    """A Trainer on the devices that the options name, with the labels of its pictures [n, 3]."""
    angles_rad = targets_rad(angles_deg, options.viewpoints)
    return engine.make_trainer(options, functools.partial(Trainer, angles_rad=angles_rad))


class Trainer(engine.Trainer):
    """Trains V on pictures and their angles; S stays as it was drawn.

    Args:
      options: config.Options.
      strategy: a tf.distribute strategy.
      angles_rad: [n, 3], of the pictures that `batches` will get.
    """

    def __init__(
        self, options: config.Options, strategy: tf.distribute.Strategy, angles_rad: np.ndarray
    ) -> None:
        super().__init__(options.replace(prior_rate=0.0, front_share=0.5), strategy)
        self.angles_rad = angles_rad
        compiled = self.step
        self.step = lambda batch, number, *_: compiled(batch, number, False)

    def _replica_step(self, real: Tensor, step: Tensor, *_: Any) -> dict[str, Tensor]:
        return self.train_analysis(real, step)

    def train_analysis(self, real: Tensor, step: Tensor, *_: Any) -> dict[str, Tensor]:
        """V's step on this replica's (pictures [b, r, r, 3], angles [b, 3])."""
        run, side = self.options.run, self.options.framing.resolution
        micro = zip(*(tf.split(part, run.accumulate) for part in real), strict=True)
        draws = self._draws(augment.draw_shapes(run.batch_size, side), step, 0)
        pairs = [
            self._analysis_gradients(part, draw) for part, draw in zip(micro, draws, strict=True)
        ]
        gradients, parts = engine._averaged(pairs)
        parts["v_gradient"] = tf.linalg.global_norm(gradients)
        self._apply(self.optimizers[0], gradients, self.analysis.trainable_weights)
        return parts

    def _analysis_gradients(
        self,
        real: tuple[Tensor, Tensor],
        draws: dict[str, Tensor],
        penalise: bool = False,
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        pictures, angles_rad = real
        weights = self.analysis.trainable_weights
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([w.value for w in weights])
            loss = self._loss(pictures, angles_rad, draws)
        return engine._gradients(tape, loss, weights), {"v_viewpoint": loss}

    def _loss(self, pictures: Tensor, angles_rad: Tensor, draws: dict[str, Tensor]) -> Tensor:
        augmented = augment.augment(pictures, draws, self.options.method.augment)
        prediction = self.analysis(augmented, training=True)
        return losses.viewpoint_consistency(prediction, angles_rad, self.analysis.encoding)
