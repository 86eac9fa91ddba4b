"""BIWI as a TFDS set: `tfds.load("biwi_kinect_head_pose")` after importing this package."""

from ssv_tf.data.biwi_kinect_head_pose.biwi_kinect_head_pose_dataset_builder import (
    BiwiKinectHeadPose,
)

__all__ = ["BiwiKinectHeadPose"]
