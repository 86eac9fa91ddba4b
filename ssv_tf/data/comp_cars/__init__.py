"""CompCars as a TFDS set: `tfds.load("comp_cars/full")` after importing this package."""

from ssv_tf.data.comp_cars.comp_cars_dataset_builder import CompCars

__all__ = ["CompCars"]
