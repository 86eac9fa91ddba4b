"""AFLW2000-3D as a TFDS set: `tfds.load("aflw2000_3d/crop")` after importing this package."""

from ssv_tf.data.aflw2000_3d.aflw2000_3d_dataset_builder import Aflw2000

__all__ = ["Aflw2000"]
