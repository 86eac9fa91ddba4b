"""Loads Keras and its backend once, without the start-up lines that help nobody."""

import os

from ssv_tf.base import stderr
from ssv_tf.base.errors import SettingError

# Errors of TensorFlow's C++ still reach the user: they come back as Python exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow leaves oneDNN out on CPUs without AVX-512; a step then takes 2.5 times as long.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
    # TensorFlow may still read data and write TensorBoard's files; the memory is for the networks.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
try:
    with stderr.captured():
        import keras
        from keras import ops
except (ImportError, ValueError) as error:
    raise SettingError(
        f"KERAS_BACKEND={os.environ.get('KERAS_BACKEND', '')} cannot be loaded: {error}; unset it, "
        "or for jax: pip install 'ssv-tf[jax]'"
    ) from error

# The networks are written for channels last, whatever ~/.keras/keras.json says.
keras.config.set_image_data_format("channels_last")

__all__ = ["keras", "ops"]
