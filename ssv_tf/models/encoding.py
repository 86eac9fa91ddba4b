"""What a network learns of an angle, and the angle that its answer stands for, in `keras.ops`.

An angle is encoded (SSV section 3.1) as the magnitudes (cos^2, sin^2) and the quadrant, a class
over the signs of (cos, sin): 0 = (+, +), 1 = (-, +), 2 = (+, -), 3 = (-, -).

The cross-entropy of magnitudes grows as 2 (error / rad)^2, so an angle of a narrow range teaches
next to nothing: all of 0 to 30 degrees is worth 0.03 nats of an azimuth's 2. An `Encoding`
stretches the range of each angle over most of a half circle before it is encoded.
"""

import dataclasses
import math
from collections.abc import Sequence

from ssv_tf import viewpoint
from ssv_tf.base.array_ops import ops
from ssv_tf.base.types import Tensor

# Quadrant after mirroring: azimuth and tilt change the sign of sin, elevation stays.
_FLIPPED = (2, 3, 0, 1)
_KEPT = (0, 1, 2, 3)
_MIRRORED_QUADRANTS = (_FLIPPED, _KEPT, _FLIPPED)
# Where the ends of a stretched range lie; 15 degrees are left for pictures beyond them.
_STRETCHED_RAD = math.radians(75.0)
# Keeps the square root's slope finite where a magnitude is zero.
_MAGNITUDE_FLOOR = 1e-6


@dataclasses.dataclass(frozen=True)
class Encoding:
    """Which angle stands for which in the code: (angle - centre) * stretch is encoded.

    Attributes:
      centre_rad: of each angle; 0 for azimuth and tilt, which mirroring negates.
      stretch: of each angle, 1 or more.
    """

    centre_rad: tuple[float, float, float] = (0.0, 0.0, 0.0)
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if self.centre_rad[0] or self.centre_rad[2]:
            raise ValueError(f"azimuth and tilt must be centred on 0, got {self.centre_rad}")
        if min(self.stretch) < 1.0:
            raise ValueError(f"stretches must be 1 or more, got {self.stretch}")

    @classmethod
    def of_range(cls, low_rad: Sequence[float], high_rad: Sequence[float]) -> "Encoding":
        """Stretches low..high of each angle to +-75 degrees; wide ranges stay as they are."""
        centres, stretches = [], []
        for low, high in zip(low_rad, high_rad, strict=True):
            half = max(0.5 * (high - low), math.radians(1.0))
            wide = half >= _STRETCHED_RAD
            centres.append(0.0 if wide or low == -high else 0.5 * (low + high))
            stretches.append(1.0 if wide else _STRETCHED_RAD / half)
        return cls(tuple(centres), tuple(stretches))  # type: ignore[arg-type]


PLAIN = Encoding()


def mirror(angles: Tensor) -> Tensor:
    """Viewpoint of the mirrored picture: (a, e, t) -> (-a, e, -t). Shape [..., 3], any unit."""
    return angles * ops.convert_to_tensor(viewpoint.MIRROR_SIGNS, dtype=angles.dtype)


def even_where_mirrored(values: Tensor) -> Tensor:
    """Values over symmetric ranges [3, n], averaged with their reverse for angles that mirroring
    negates (azimuth and tilt).
    """
    signs = ops.convert_to_tensor(viewpoint.MIRROR_SIGNS, dtype=values.dtype)[:, None]
    return ops.where(signs < 0, 0.5 * (values + ops.flip(values, axis=1)), values)


def encode(angles_rad: Tensor, encoding: Encoding = PLAIN) -> tuple[Tensor, Tensor]:
    """Magnitudes and quadrant of each angle (SSV section 3.1).

    Args:
      angles_rad: [batch, 3].
      encoding: Encoding.

    Returns:
      (magnitudes [batch, 3, 2] = (cos^2, sin^2), quadrants [batch, 3, 4] one-hot).
    """
    centre, stretch = _constants(encoding, angles_rad.dtype)
    stretched = (angles_rad - centre) * stretch
    cosine, sine = ops.cos(stretched), ops.sin(stretched)
    magnitudes = ops.stack([ops.square(cosine), ops.square(sine)], axis=-1)
    quadrant = ops.cast(cosine < 0, "int32") + 2 * ops.cast(sine < 0, "int32")
    return magnitudes, ops.one_hot(quadrant, 4, dtype=magnitudes.dtype)


def decode(magnitude_logits: Tensor, quadrant_logits: Tensor, encoding: Encoding = PLAIN) -> Tensor:
    """Angles of a prediction: sign of the likeliest quadrant, root of the magnitudes, atan2.

    Args:
      magnitude_logits: [batch, 3, 2], softmax gives (cos^2, sin^2).
      quadrant_logits: [batch, 3, 4].
      encoding: Encoding.

    Returns:
      angles in radians, [batch, 3], in [-pi, pi] where the encoding is plain. Differentiable in
      magnitude_logits.
    """
    magnitudes = ops.softmax(magnitude_logits, axis=-1)
    roots = ops.sqrt(larger(magnitudes, _MAGNITUDE_FLOOR**2))
    vector = roots * _quadrant_signs(quadrant_logits)
    centre, stretch = _constants(encoding, vector.dtype)
    return ops.arctan2(vector[..., 1], vector[..., 0]) / stretch + centre


def _quadrant_signs(quadrant_logits: Tensor) -> Tensor:
    """Signs of (cos, sin) of the likeliest quadrant, one of them where they tie: [n, 3, 4 -> 2].

    The winner of each pair by comparisons: Keras's argmax looks at the bits of -0.0, for which
    TFLite has no operation.
    """
    first, second, third, fourth = (quadrant_logits[..., i] for i in range(4))
    above = larger(first, second) >= larger(third, fourth)
    right = ops.where(above, first >= second, third >= fourth)
    return ops.stack([ops.where(side, 1.0, -1.0) for side in (right, above)], axis=-1)


def larger(first: Tensor, second: Tensor | float) -> Tensor:
    """The larger of two numbers; where it is the second, up to rounding.

    A sum, as the sides of TFLite's MAXIMUM or SELECT share one scale of 8 bits, to which its
    quantiser rounds them even where it is told to leave the operation alone.
    """
    return first + ops.relu(second - first)


def _constants(encoding: Encoding, dtype: str) -> tuple[Tensor, Tensor]:
    return (
        ops.convert_to_tensor(encoding.centre_rad, dtype=dtype),
        ops.convert_to_tensor(encoding.stretch, dtype=dtype),
    )


def mirror_prediction(magnitude_logits: Tensor, quadrant_logits: Tensor) -> tuple[Tensor, Tensor]:
    """What V should predict for the mirrored picture, given its prediction for the picture.

    Args:
      magnitude_logits: [batch, 3, 2]; unchanged, as cos^2 and sin^2 do not know the sign.
      quadrant_logits: [batch, 3, 4]; classes of azimuth and tilt swap the sign of sin.

    Returns:
      the pair, same shapes.
    """
    mirrored = [
        ops.take(quadrant_logits[:, i], order, axis=-1)
        for i, order in enumerate(_MIRRORED_QUADRANTS)
    ]
    return magnitude_logits, ops.stack(mirrored, axis=1)
