"""What a network would have to say to mean given angles."""

import numpy as np

from ssv_tf import viewpoint
from ssv_tf.evaluation.calibration import RawAngles
from ssv_tf.models.decoding import RawPrediction


def prediction_of(degrees):
    """RawPrediction of angles [n, 3], each in its quadrant beyond doubt."""
    angles = np.radians(np.asarray(degrees, np.float64))
    squares = np.stack([np.cos(angles), np.sin(angles)], axis=-1) ** 2
    quadrants = 30.0 * np.eye(4)[viewpoint.quadrant_of_deg(np.degrees(angles))]
    return RawPrediction(
        np.log(np.maximum(squares, 1e-30)).astype(np.float32), quadrants.astype(np.float32)
    )


def own_angles(columns):
    """RawAngles of arrays [n, 3, 7 or 8]: degrees, azimuth's quadrant logits, a head's word."""
    columns = np.asarray(columns, np.float64)
    return RawAngles(
        columns[:, :3],
        columns[:, 3:7] if columns.shape[1] > 3 else None,
        columns[:, 7] if columns.shape[1] > 7 else None,
    )
