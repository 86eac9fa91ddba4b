"""Parametric heads: proportions and hair, drawn at random. NumPy only.

Lengths are centimetres. The origin is half-way between the top of the skull and the chin; the
nose is at +z, the head's own left at image right (+x), as `ssv_tf.viewpoint` has the axes.
"""

from dataclasses import dataclass

import numpy as np

HAIRSTYLES = ("bald", "cropped", "short", "full", "bob", "long")
_HAIR_CHANCES = (0.06, 0.18, 0.26, 0.16, 0.17, 0.17)

_RANGES: dict[str, tuple[float, float]] = {
    "height": (21.5, 24.5),
    "width": (14.2, 16.2),
    "depth": (18.4, 20.4),
    "jaw": (0.82, 1.08),
    "chin": (-0.3, 0.7),
    "eye_x": (3.3, 3.6),
    "eye_y": (0.3, 1.1),
    "eye_radius": (1.85, 2.05),
    "eye_width": (1.8, 2.1),
    "upper_lid": (0.85, 1.15),
    "lower_lid": (0.55, 0.8),
    "iris_deg": (22.0, 25.0),
    "brow_lift": (1.9, 2.6),
    "nose_length": (3.7, 4.9),
    "nose_reach": (2.0, 3.3),
    "nose_width": (1.2, 1.8),
    "mouth_y": (-7.4, -6.4),
    "ear_size": (0.85, 1.2),
    "neck": (4.3, 5.6),
}

# (low, high) thickness, and height of the hair's edge in front, at the temples, before and behind
# the ears and in the nape.
_HAIR: dict[str, tuple[tuple[float, float], ...]] = {
    "bald": ((0.0, 0.0),) * 6,
    "cropped": ((0.3, 0.6), (5.6, 7.6), (4.4, 6.0), (0.0, 1.5), (-1.5, 0.5), (-5.0, -3.0)),
    "short": ((0.8, 1.5), (5.0, 7.2), (3.8, 5.2), (-1.0, 1.0), (-2.5, -0.5), (-6.5, -4.0)),
    "full": ((1.7, 2.8), (4.8, 6.8), (3.4, 4.6), (-2.0, 0.5), (-4.0, -2.0), (-8.0, -5.5)),
    "bob": ((1.1, 1.9), (4.6, 7.0), (1.0, 3.6), (-8.5, -5.5), (-9.5, -7.0), (-10.0, -7.5)),
    "long": ((1.0, 1.8), (4.8, 7.2), (1.0, 3.6), (-22.0, -13.0), (-23.0, -15.0), (-24.0, -16.0)),
}


@dataclass(frozen=True)
class Hair:
    """A cap of hair.

    Attributes:
      style: one of `HAIRSTYLES`.
      thickness: above the skin.
      front, temple, before_ear, behind_ear, nape: heights of its edge around the head.
    """

    style: str
    thickness: float
    front: float
    temple: float
    before_ear: float
    behind_ear: float
    nape: float


@dataclass(frozen=True)
class Head:
    """Proportions of one head, symmetric left-right.

    Attributes:
      height, width, depth: chin to top, ear to ear without the ears, forehead to back.
      jaw: factor on the width of the lower face. chin: how far it juts out.
      eye_x, eye_y: place of the eyes. eye_radius: from where the gaze turns to the pupil.
      eye_width: half the width of the lids' opening; upper_lid, lower_lid: half its heights.
      iris_deg: angle between the iris's edge and the gaze.
      brow_lift: of the brows above the eyes.
      nose_length, nose_reach, nose_width: from the eyes down, out of the face, half across.
      mouth_y: its height. ear_size: factor. neck: half its width. hair: its cap.
    """

    height: float
    width: float
    depth: float
    jaw: float
    chin: float
    eye_x: float
    eye_y: float
    eye_radius: float
    eye_width: float
    upper_lid: float
    lower_lid: float
    iris_deg: float
    brow_lift: float
    nose_length: float
    nose_reach: float
    nose_width: float
    mouth_y: float
    ear_size: float
    neck: float
    hair: Hair


def draw_head(rng: np.random.Generator) -> Head:
    """Draws proportions, uniform in their ranges, and a hairstyle."""
    values = {name: float(rng.uniform(*bounds)) for name, bounds in _RANGES.items()}
    style = HAIRSTYLES[rng.choice(len(HAIRSTYLES), p=_HAIR_CHANCES)]
    hair = Hair(style, *(float(rng.uniform(*bounds)) for bounds in _HAIR[style]))
    return Head(**values, hair=hair)
