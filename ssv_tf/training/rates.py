"""Learning rates set before each step, so that one compiled step serves trainings of other rates.

A schedule within an optimizer is part of the compiled step: AdamW's weight decay traces it once for
every weight, and another schedule needs another step.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


class RateByStep(keras.callbacks.Callback):
    """Gives the optimizer the rate of each step of `fit`.

    Args:
      rate: from a step's number, 0 for the first of all epochs, to its learning rate.
    """

    def __init__(self, rate: Callable[[int], Any]) -> None:
        super().__init__()
        self.rate, self.first = rate, 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.first = epoch * self.params["steps"]

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self.model.optimizer.learning_rate = self.rate(self.first + batch)


def warm_up_and_fall(steps: int, highest: float, warm_up: int) -> Callable[[int], Any]:
    """A linear rise to `highest` over `warm_up` steps, then a cosine to 0 over `steps` more."""
    return keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=highest, warmup_steps=warm_up
    )


def forget(optimizer: keras.optimizers.Optimizer) -> None:
    """Makes an optimizer as new: no moments, no steps."""
    for variable in optimizer.variables:
        variable.assign(ops.zeros_like(variable))
