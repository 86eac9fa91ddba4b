"""A small exported model for the tests of serving, written once."""

import functools
import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 32


def pictures(count, height=SIZE, width=SIZE, seed=0):
    """uint8 [count, height, width, 3]: smooth patterns, so that resizing them is well defined."""
    small = np.random.default_rng(seed).integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    scaled = [Image.fromarray(p).resize((width, height), Image.Resampling.BICUBIC) for p in small]
    return np.stack([np.asarray(picture) for picture in scaled])


def encoded(picture, kind="PNG", **options):
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind, **options)
    return stream.getvalue()


@functools.cache
def analysis():
    import keras

    from ssv_tf.models.analysis import AnalysisNetwork

    keras.utils.set_random_seed(3)
    network = AnalysisNetwork(resolution=SIZE, width=0.1, style_size=8)
    network.build()
    return network


@functools.cache
def folded(confidence=None):
    from ssv_tf.evaluation.calibration import Calibration
    from ssv_tf.export import fold

    angles = (-1.0, 1.2, 0.9), (150.0, 3.0, -2.0)
    return fold.FoldedViewpoint(analysis(), Calibration(*angles, confidence=confidence))


def keras_degrees(images):
    """Degrees [n, 3] of uint8 [n, SIZE, SIZE, 3] by the Keras model, not by any export."""
    from ssv_tf.evaluation.calibration import Calibration
    from ssv_tf.models import inference

    fitted = Calibration((-1.0, 1.2, 0.9), (150.0, 3.0, -2.0))
    return inference.decode(inference.predict(analysis(), images), fitted).degrees


_KEPT = []


@functools.cache
def exported() -> Path:
    """The folder `serving`, which no test may change."""
    from ssv_tf.export.serving import layout

    _KEPT.append(tempfile.TemporaryDirectory())
    place = Path(_KEPT[0].name) / "serving"
    layout.write(folded(), place, pictures(8, seed=9))
    return place


@functools.cache
def model():
    """The exported version, loaded in a session."""
    from ssv_tf.export.serving.model import ServedModel

    return ServedModel(exported() / "viewpoint" / "1", "viewpoint")
