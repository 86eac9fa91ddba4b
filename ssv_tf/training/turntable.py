"""Pictures that S draws: turntables, one object at many viewpoints, styles mixed."""

from collections.abc import Callable

import numpy as np
from keras import ops

from ssv_tf.config import parts
from ssv_tf.data.framing import to_network, to_uint8
from ssv_tf.models import inference
from ssv_tf.models.analysis import AnalysisNetwork
from ssv_tf.models.synthesis import SynthesisNetwork
from ssv_tf.training.objective import viewpoint_range_rad


def turntable(
    synthesis: SynthesisNetwork,
    viewpoints: parts.ViewpointRange,
    objects: int | np.ndarray = 4,
    views: int = 12,
    seed: int = 0,
    elevation_deg: float | None = None,
) -> np.ndarray:
    """Pictures of `objects` random styles at `views` azimuths.

    The full circle starts at 0 and leaves the end out; a limited range goes from end to end.

    Args:
      synthesis: SynthesisNetwork.
      viewpoints: config.parts.ViewpointRange.
      objects: rows, or an array of styles [objects, 2 code_size].
      elevation_deg: of every view; None for the middle of the range.

    Returns:
      uint8 [objects, views, r, r, 3].
    """
    styles = objects
    if isinstance(objects, int):
        styles = np.random.default_rng(seed).normal(size=(objects, 2 * synthesis.code_size))
    styles = np.asarray(styles, np.float32)
    angles = turntable_angles_rad(viewpoints, views, elevation_deg)
    draw = _draw_function(synthesis)
    rows = []
    for style in styles:
        codes = np.repeat(style[None], views, axis=0)
        z1, z2 = np.split(codes, 2, axis=-1)
        rows.append(to_uint8(ops.convert_to_numpy(draw(z1, z2, angles))))
    return np.stack(rows)


def turntable_angles_rad(
    viewpoints: parts.ViewpointRange, views: int, elevation_deg: float | None = None
) -> np.ndarray:
    """The viewpoints of a turntable, float32 [views, 3] radians."""
    low, high = (ops.convert_to_numpy(side) for side in viewpoint_range_rad(viewpoints))
    circle = viewpoints.full_circle
    angles = np.zeros((views, 3), np.float32)
    angles[:, 0] = np.linspace(0 if circle else low[0], 2 * np.pi if circle else high[0],
                               views, endpoint=not circle)  # fmt: skip
    middle = 0.5 * (low[1] + high[1])
    angles[:, 1] = middle if elevation_deg is None else np.radians(elevation_deg)
    return angles


def viewpoint_grid(
    synthesis: SynthesisNetwork, viewpoints: parts.ViewpointRange, seed: int = 0
) -> np.ndarray:
    """One object, azimuth across and elevation down, from the highest to the lowest.

    Returns:
      uint8 [5, 12, r, r, 3].
    """
    heights = np.linspace(viewpoints.elevation_max_deg, viewpoints.elevation_min_deg, 5)
    rows = [turntable(synthesis, viewpoints, 1, 12, seed, float(height)) for height in heights]
    return np.concatenate(rows)


def style_grid(
    synthesis: SynthesisNetwork, viewpoints: parts.ViewpointRange, objects: int, seed: int = 0
) -> np.ndarray:
    """Style mixing: z1 of each row's object with z2 of each column's, at one viewpoint.

    Returns:
      uint8 [objects, objects, r, r, 3].
    """
    size = synthesis.code_size
    styles = np.random.default_rng(seed).normal(size=(objects, 2 * size))
    rows = []
    for row in styles:
        mixed = styles.copy()
        mixed[:, :size] = row[:size]
        views = turntable(synthesis, viewpoints, mixed, 8)
        rows.append(views[:, 1 if viewpoints.full_circle else 4])
    return np.stack(rows)


def redrawn(
    analysis: AnalysisNetwork, synthesis: SynthesisNetwork, images: np.ndarray
) -> np.ndarray:
    """What S draws of pictures from the styles and viewpoints that V reads from them.

    Args:
      images: uint8 [n, r, r, 3].

    Returns:
      uint8 [n, r, r, 3].
    """
    seen = analysis(ops.convert_to_tensor(to_network(images)))
    z1, z2 = ops.split(seen["style"], 2, axis=-1)
    drawn = synthesis([z1, z2, analysis.angles_rad(seen)])
    return to_uint8(ops.convert_to_numpy(drawn))


def tile(pictures: np.ndarray) -> np.ndarray:
    """[rows, columns, h, w, 3] -> one picture [rows h, columns w, 3]."""
    rows, columns, height, width, channels = pictures.shape
    return pictures.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)


def _draw_function(synthesis: SynthesisNetwork) -> Callable:
    return inference.compiled_for(
        synthesis, lambda network: lambda z1, z2, angles: network([z1, z2, angles])
    )
