"""A trainer of a few numbers in place of the networks: what a run's files go through is real."""

from types import SimpleNamespace

import numpy as np

from ssv_tf import config
from ssv_tf.data import collection

OPTIONS = config.Options.of(
    steps=4, batch_size=8, data="pictures", supervised=True, log_interval=1, checkpoint_interval=2,
    evaluation_interval=1000, precision="float32",
)  # fmt: skip


class Weight:
    """What the checkpoints ask of a keras.Variable."""

    path = "toy/weight"

    def __init__(self, count):
        self.value = np.linspace(0, 1, count, dtype=np.float32)
        self.shape = self.value.shape

    def numpy(self):
        return self.value


class Trainer:
    """Every step depends on the one before and on the batch, so that a lost step shows."""

    analysis_ema = synthesis_ema = None

    def __init__(self, count=64):
        self.weight = Weight(count)

    def batches(self, images, first):
        return (np.float32(number) for number in range(first, 10**9))

    def step(self, batch, number, penalise):
        assert batch == number
        self.weight.value = np.sin(self.weight.value * np.float32(1.3) + batch)
        return {"loss": self.weight.value.mean()}

    def state(self):
        return {"analysis/0000": self.weight}

    def restore(self, values):
        self.weight.value = values["analysis/0000"]


def pictures(_options):
    """A collection for `loop.load_training_pictures`."""
    images, angles = np.zeros((8, 4, 4, 3), np.uint8), np.zeros((8, 3), np.float32)
    return collection.PictureSet([f"{i}.png" for i in range(8)], images, angles)


def install(loop, engines, runs, count=64):
    """Puts the toy where the loop looks for networks; returns a function that undoes it."""
    before = loop.load_training_pictures, engines.make_trainer, runs.save_models
    kept, loop._CHECKPOINTS_KEPT = loop._CHECKPOINTS_KEPT, 1

    def save_models(folder, *_):
        from ssv_tf.base import files

        files.write_atomically(folder / "analysis.keras", b"a" * 4 * count)
        files.write_atomically(folder / "synthesis.keras", b"s" * 4 * count)

    loop.load_training_pictures, runs.save_models = pictures, save_models
    engines.make_trainer = lambda *_: Trainer(count)

    def undo():
        loop.load_training_pictures, engines.make_trainer, runs.save_models = before
        loop._CHECKPOINTS_KEPT = kept

    return undo


def trainer_of(shapes):
    """A trainer whose state has these shapes by name; restores into `got`."""
    variables = {name: SimpleNamespace(path=name, shape=s) for name, s in shapes.items()}
    for variable in variables.values():
        variable.numpy = lambda s=variable.shape: np.ones(s, np.float32)
    got: dict = {}
    return SimpleNamespace(state=lambda: variables, restore=got.update, got=got)
