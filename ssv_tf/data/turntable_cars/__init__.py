"""The embedded data set: rendered cars on a turntable, with exact angles.

Importing this package registers the builder, so that `tfds.load("turntable_cars/64")` finds it.
"""

from ssv_tf.data.turntable_cars.collection import (
    SPLITS,
    Picture,
    picture_seed,
    render_car,
    render_collection,
)
from ssv_tf.data.turntable_cars.turntable_cars_dataset_builder import TurntableCars

__all__ = [
    "SPLITS",
    "Picture",
    "TurntableCars",
    "picture_seed",
    "render_car",
    "render_collection",
]
