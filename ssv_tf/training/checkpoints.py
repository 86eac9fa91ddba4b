"""Checkpoints: step, both networks and their averages, all optimizers, the prior.

Data order and random numbers are functions of (seed, step), so the step is their position too.
"""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from ssv_tf.errors import TrainingDiverged, UserError


class Checkpoints:
    """Saves and restores a Trainer in a folder, keeping the last few.

    Args:
      folder: checkpoints/ of the run.
      trainer: training.step.Trainer.
      keep: how many stay.
    """

    def __init__(self, folder, trainer, keep):
        self.trainer = trainer
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.best_score = tf.Variable(np.inf, dtype=tf.float64, trainable=False)
        parts = _variables(trainer)
        checkpoint = tf.train.Checkpoint(step=self.step, best_score=self.best_score, **parts)
        self.checkpoint = checkpoint
        self.manager = tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=keep)

    def restore(self) -> int:
        """Restores the newest checkpoint that can be read; returns its step, 0 for none.

        Raises:
          UserError: there are checkpoints and none fits these networks.
        """
        reasons = []
        for path in reversed(self.manager.checkpoints):
            try:
                self.checkpoint.restore(path).assert_consumed()
                return int(self.step.numpy())
            except (tf.errors.OpError, ValueError, AssertionError) as error:
                reasons.append(f"{Path(path).name}: {str(error).strip().splitlines()[0][:200]}")
        if reasons:
            raise UserError(
                f"no checkpoint in {self.manager.directory} can be restored; {reasons[0]}"
            )
        return 0

    def save(self, step: int) -> None:
        """Saves after `step` steps, unless it is saved already.

        Raises:
          TrainingDiverged: a weight is not a number; nothing is written.
          UserError: the disk is full or the folder cannot be written.
        """
        latest = self.manager.latest_checkpoint
        if latest and Path(latest).name == f"ckpt-{step}":
            return
        _require_finite(self.trainer)
        self.step.assign(step)
        try:
            self.manager.save(checkpoint_number=step)
        except (tf.errors.OpError, OSError) as error:
            first = str(error).strip().splitlines()[0]
            raise UserError(f"cannot save to {self.manager.directory}: {first}") from error


def _variables(trainer):
    """Variables by a name that no order of construction changes."""
    owners = {
        "analysis": trainer.analysis.variables,
        "synthesis": trainer.synthesis.variables,
        "average": trainer.synthesis_ema.variables,
        "analysis_average": trainer.analysis_ema.variables,
    }
    owners["prior"] = [trainer.log_prior]
    for index, optimizer in enumerate(trainer.optimizers):
        owners[f"optimizer_{index}"] = optimizer.variables
    return {
        name: tf.train.Checkpoint(**{f"v{i:04d}": _tensor(v) for i, v in enumerate(variables)})
        for name, variables in owners.items()
    }


def _tensor(variable):
    return variable.value if isinstance(variable, keras.Variable) else variable


def _require_finite(trainer):
    for model in (trainer.analysis, trainer.synthesis):
        for weight in model.weights:
            if "seed" not in weight.path and not np.all(np.isfinite(weight.numpy())):
                raise TrainingDiverged(
                    f"weight {weight.path} is not a number; the last good checkpoint remains"
                )
