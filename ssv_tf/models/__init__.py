"""The analysis and the synthesis network, their layers and perceptual features."""

from ssv_tf.base import backend  # noqa: F401  (Keras without its start-up lines)
