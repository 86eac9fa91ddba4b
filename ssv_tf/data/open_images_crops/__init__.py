"""Crops of Open Images: `tfds.load("open_images_crops/bus")` after importing this package."""

from ssv_tf.data.open_images_crops.open_images_crops_dataset_builder import OpenImagesCrops

__all__ = ["OpenImagesCrops"]
