"""Loads Keras and its backend once, without the start-up lines that help nobody."""

import os

from ssv_tf import quiet

# Errors of TensorFlow's C++ still reach the user: they come back as Python exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with quiet.native_output():
    from keras import ops

__all__ = ["ops"]
