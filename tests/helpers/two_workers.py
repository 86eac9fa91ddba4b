"""One process that trains random pictures with SGD; of a cluster where TF_CONFIG says so.

python -m two_workers FOLDER ACCUMULATE
"""

import dataclasses
import sys

import keras
import numpy as np
import tensorflow as tf
import tiny

from ssv_tf import config
from ssv_tf.config import method
from ssv_tf.data import collection
from ssv_tf.training import loop, networks

folder, accumulate = sys.argv[1:]
OPTIONS = config.Options.of(
    **tiny.NETWORKS | {"batch_size": 16}, run_dir=folder, steps=3, accumulate=int(accumulate),
    deterministic=True, image_weight=0.0, prior_rate=0.01, log_interval=1, checkpoint_interval=1,
    evaluation_interval=100, analysis_rate=1e-3, synthesis_rate=1e-3, data="pictures",
)  # fmt: skip


def pictures(_options):
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    return collection.PictureSet([f"{i}.png" for i in range(40)], images)


def optimizers(options):
    own = options.optimizer
    rates = own.analysis_rate, own.synthesis_rate, own.synthesis_rate
    return [keras.optimizers.SGD(rate) for rate in rates]


method.METHODS[method.COMPOSITE] = dataclasses.replace(OPTIONS.method, dropout=0.0)
networks.R1_INTERVAL = 2
loop.load_training_pictures, networks.make_optimizers = pictures, optimizers
loop._Session._score = loop._Session._check_health = lambda *_: None  # costs more than the rest
loop.turntable.turntable = lambda *_: np.zeros((1, 1, 32, 32, 3), np.uint8)
loop.turntable.tile = lambda *_: np.zeros((32, 32, 3), np.uint8)
tf.config.run_functions_eagerly(True)
assert loop.train(OPTIONS, quiet=True) == 0
