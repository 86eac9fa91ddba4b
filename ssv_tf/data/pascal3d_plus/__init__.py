"""Pascal3D+ as a TFDS set: `tfds.load("pascal3d_plus/car")` after importing this package."""

from ssv_tf.data.pascal3d_plus.pascal3d_plus_dataset_builder import CATEGORIES, Pascal3dPlus

__all__ = ["CATEGORIES", "Pascal3dPlus"]
