"""A run without an end, on black pictures, to be stopped.

python -m endless_run FOLDER
"""

import sys

import numpy as np
import pytest
import tensorflow as tf
import tiny

from ssv_tf import config
from ssv_tf.data import collection, sources
from ssv_tf.training import loop

OPTIONS = config.Options.of(
    **tiny.NETWORKS, steps=10**5, log_interval=2, checkpoint_interval=10**5, evaluation_interval=2,
    prior_rate=0.0,
)  # fmt: skip


def load_collection(spec, *, resolution, split="train", **_):
    images = np.zeros((160, resolution, resolution, 3), np.uint8)
    angles = np.random.default_rng(0).uniform(-30, 30, (160, 3)).astype("float32")
    return collection.PictureSet([str(i) for i in range(160)], images, angles)


if __name__ == "__main__":
    tf.config.run_functions_eagerly(True)
    tiny.with_short_looks(pytest.MonkeyPatch())
    sources.load_collection = load_collection
    sys.exit(loop.train(OPTIONS.replace(run_dir=sys.argv[1]), quiet=True))
