"""Changes that keep the viewpoint, put on every picture V sees, real or drawn.

Without them V and S agree on a hidden code in the pixels instead of a turning object. They are
differentiable, since S learns through them.
"""

from collections.abc import Mapping

from keras import ops

from ssv_tf.base.types import Tensor

_SHIFT = 1.0 / 16  # of the picture's side
_ZOOM = 0.06
_BRIGHTNESS = 0.2
_CONTRAST = 0.2
_NOISE = 0.06

DrawShapes = dict[str, tuple[str, tuple[int, ...]]]
"""Random numbers that are asked for: name -> (kind, shape)."""


def draw_shapes(batch: int, resolution: int) -> DrawShapes:
    """What `augment` needs: name -> (kind, shape), kinds "uniform" in [-1, 1] and "normal"."""
    return {
        "place": ("uniform", (batch, 3)),
        "light": ("uniform", (batch, 2)),
        "noise": ("normal", (batch, resolution, resolution, 3)),
    }


def augment(pictures: Tensor, draws: Mapping[str, Tensor], strength: float) -> Tensor:
    """Small shift, zoom, brightness, contrast and noise, each of its own for every picture.

    Args:
      pictures: [batch, r, r, 3] in [-1, 1].
      draws: random numbers as `draw_shapes` names them.
      strength: multiplies every change; 0 returns the pictures as they are.

    Returns:
      pictures of the same shape, not clipped.
    """
    if not strength:
        return pictures
    resolution, shift_zoom, light = pictures.shape[1], draws["place"], draws["light"]
    zoom = 1.0 + strength * _ZOOM * shift_zoom[:, 2:]
    shift = strength * _SHIFT * resolution * shift_zoom[:, :2]
    rows = _resampling(zoom, shift[:, :1], resolution)
    columns = _resampling(zoom, shift[:, 1:], resolution)
    x = ops.einsum("bij,bjwc->biwc", rows, pictures)
    x = ops.einsum("bkw,biwc->bikc", columns, x)
    contrast = 1.0 + strength * _CONTRAST * light[:, :1]
    brightness = strength * _BRIGHTNESS * light[:, 1:]
    x = x * contrast[:, :, None, None] + brightness[:, :, None, None]
    return x + strength * _NOISE * draws["noise"]


def _resampling(zoom: Tensor, shift: Tensor, size: int) -> Tensor:
    """Linear interpolation along one axis as a matrix [batch, size, size], edges repeated."""
    centre = (size - 1) / 2.0
    index = ops.arange(size, dtype="float32")
    source = ops.clip((index[None] - centre) * zoom + centre + shift, 0.0, size - 1.0)
    return ops.maximum(0.0, 1.0 - ops.abs(source[:, :, None] - index[None, None]))
