"""Small exported models for tests: a folded V, one with confidence, a foreign one."""

import numpy as np
import tensorflow as tf

from ssv_tf.evaluation.calibration import Calibration
from ssv_tf.export.fold import FoldedViewpoint
from ssv_tf.models.analysis import AnalysisNetwork

SIZE = 32


def analysis():
    """The smallest V, untrained."""
    network = AnalysisNetwork(resolution=SIZE, width=0.03, style_size=8)
    network.build()
    return network


def folded():
    return FoldedViewpoint(analysis(), Calibration((-1.0, 1.2, 0.9), (150.0, 3.0, -2.0)))


def pictures(count):
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def converted(function, folder, **shapes):
    """The .tflite of a function of float arrays that answers a dictionary."""
    module = tf.Module()
    specs = {name: tf.TensorSpec(shape, tf.float32, name=name) for name, shape in shapes.items()}
    signature = tf.function(function, autograph=False).get_concrete_function(**specs)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": signature})
    return tf.lite.TFLiteConverter.from_saved_model(str(folder)).convert()


def student(folder):
    """A file that also answers confidence, as distilled models do."""

    def answer(picture):
        grey = tf.reduce_mean(picture, axis=(1, 2)) / 255.0  # [1, 3]
        return {"viewpoint_deg": 360.0 * grey - 180.0, "confidence": grey[:, :1] * grey[:, 1:2]}

    return converted(answer, folder, picture=(1, SIZE, SIZE, 3))


def foreign(folder):
    """A file of another model."""
    return converted(lambda image: {"label": 2.0 * image}, folder, image=(1, 5))
