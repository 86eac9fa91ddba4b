"""Self-supervised viewpoint learning (SSV, arXiv 2004.01793) for TensorFlow and Keras.

    import ssv_tf

    model = ssv_tf.load("cars_photos")             # a preset, or the folder of a run
    views = model.predict(["a.jpg", "photos/"])    # files, folders, globs, PIL images, arrays
    views.azimuth_deg, views.confidence            # NumPy, one number a picture

    crops = ssv_tf.crop("photos", "my_photos", "instances.json")   # cuts out what boxes show
    run = ssv_tf.train("my_photos", steps=8000)    # reads no label

Importing the package imports neither TensorFlow nor Keras; what needs them brings them.
"""

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssv_tf.api.model import ViewpointModel
    from ssv_tf.api.results import CalibrationResult, Score, Turntable, Views
    from ssv_tf.api.runs import load, presets, recipes, train
    from ssv_tf.base.errors import UserError, ViewpointWarning
    from ssv_tf.data.cropping import Crops, crop
    from ssv_tf.evaluation.calibration import Calibration
    from ssv_tf.export.formats import Exported

__version__ = "0.1.0"

__all__ = [
    "Calibration",
    "CalibrationResult",
    "Crops",
    "Exported",
    "Score",
    "Turntable",
    "UserError",
    "ViewpointModel",
    "ViewpointWarning",
    "Views",
    "crop",
    "load",
    "presets",
    "recipes",
    "train",
]

_HOME = {
    "Calibration": "ssv_tf.evaluation.calibration",
    "CalibrationResult": "ssv_tf.api.results",
    "Crops": "ssv_tf.data.cropping",
    "Exported": "ssv_tf.export.formats",
    "Score": "ssv_tf.api.results",
    "Turntable": "ssv_tf.api.results",
    "UserError": "ssv_tf.base.errors",
    "ViewpointModel": "ssv_tf.api.model",
    "ViewpointWarning": "ssv_tf.base.errors",
    "Views": "ssv_tf.api.results",
    "crop": "ssv_tf.data.cropping",
    "load": "ssv_tf.api.runs",
    "presets": "ssv_tf.api.runs",
    "recipes": "ssv_tf.api.runs",
    "train": "ssv_tf.api.runs",
}


def __getattr__(name: str) -> Any:
    """A public name, imported from its home when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(types.ModuleType):
    """Keeps `ssv_tf.train` the function: the command of that name is a module of the package."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
