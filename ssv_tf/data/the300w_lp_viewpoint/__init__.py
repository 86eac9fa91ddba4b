"""300W-LP as a TFDS set: `tfds.load("the300w_lp_viewpoint/crop")` after importing this package."""

from ssv_tf.data.the300w_lp_viewpoint.the300w_lp_viewpoint_dataset_builder import (
    The300wLpViewpoint,
)

__all__ = ["The300wLpViewpoint"]
