"""What is painted on a head: skin, brows, mouth, beard, hair and eyes. NumPy only.

Everything is decided per visible point from its place, and depends on |x| only, so that every
head is symmetric left-right. On the eyes the place is that before the gaze, so that the iris is
where z is largest.
"""

from dataclasses import dataclass

import numpy as np

from ssv_tf.data.turntable_cars.paint import Canvas
from ssv_tf.data.turntable_heads.mesh import Part
from ssv_tf.data.turntable_heads.shapes import Head

_PUPIL = (0.006,) * 3
_PUPIL_SHARE = 0.42  # of the iris's angle

# Linear RGB. Skins run from dark to light; a head's lies on the line through them.
_SKINS = np.array([(0.075, 0.034, 0.02), (0.26, 0.13, 0.075), (0.52, 0.30, 0.20), (0.72, 0.5, 0.4)])
_HAIR_COLOURS = np.array(
    [
        (0.008, 0.007, 0.007),
        (0.035, 0.018, 0.010),
        (0.11, 0.055, 0.025),
        (0.42, 0.27, 0.11),
        (0.26, 0.07, 0.02),
        (0.35, 0.35, 0.36),
        (0.75, 0.74, 0.72),
    ]
)
_HAIR_CHANCES = (0.24, 0.26, 0.18, 0.13, 0.06, 0.08, 0.05)
_IRISES = np.array(
    [
        (0.030, 0.014, 0.006),
        (0.075, 0.034, 0.012),
        (0.06, 0.05, 0.015),
        (0.03, 0.08, 0.03),
        (0.03, 0.08, 0.17),
        (0.09, 0.11, 0.13),
    ]
)


@dataclass(frozen=True)
class Look:
    """Colours, linear RGB [3], and details of one head; lengths in centimetres.

    Attributes:
      brow_thickness: of the brows. brow_slant: how much their outer ends drop.
      mouth_width, lip: half the width and half the thickness of the mouth.
      beard: share of the hair's colour on cheeks and chin. shine: strength of reflections.
    """

    skin: np.ndarray
    hair: np.ndarray
    brow: np.ndarray
    lips: np.ndarray
    white: np.ndarray
    iris: np.ndarray
    brow_thickness: float
    brow_slant: float
    mouth_width: float
    lip: float
    beard: float
    shine: float


def draw_look(rng: np.random.Generator) -> Look:
    """Draws colours and details."""
    skin = _draw_skin(rng)
    hair = _HAIR_COLOURS[rng.choice(len(_HAIR_COLOURS), p=_HAIR_CHANCES)] * rng.uniform(0.7, 1.3)
    redder = np.array([1.0, 0.55, 0.55])
    return Look(
        skin=skin,
        hair=hair,
        brow=np.minimum(0.8 * hair, 0.45 * skin),
        lips=skin * redder * rng.uniform(0.6, 0.95),
        white=np.full(3, rng.uniform(0.72, 0.85)),
        iris=_IRISES[rng.integers(len(_IRISES))] * rng.uniform(0.7, 1.2),
        brow_thickness=rng.uniform(0.55, 1.0),
        brow_slant=rng.uniform(0.0, 0.8),
        mouth_width=rng.uniform(2.2, 3.1),
        lip=rng.uniform(0.5, 0.95),
        beard=rng.uniform(0.25, 0.95) if rng.random() < 0.2 else 0.0,
        shine=rng.uniform(0.05, 0.35),
    )


def _draw_skin(rng):
    tone = rng.uniform(0, len(_SKINS) - 1)
    steps = np.arange(len(_SKINS))
    colour = np.array([np.interp(tone, steps, channel) for channel in _SKINS.T])
    return colour * rng.uniform(0.9, 1.1) * rng.uniform(0.95, 1.05, 3)


def paint(parts: np.ndarray, places: np.ndarray, head: Head, look: Look) -> Canvas:
    """Paints the visible points: parts [n], places [n, 3] -> colour, gloss and glow of each."""
    canvas = Canvas(parts, places, look.skin, look.shine)
    _face(canvas, head, look)
    canvas.fill(canvas.on(Part.HAIR), look.hair, gloss=2 * look.shine)
    canvas.fill(canvas.on(Part.LID), 0.88 * look.skin, gloss=look.shine)
    canvas.fill(canvas.on(Part.LASH), 0.5 * look.brow, gloss=0.0)
    _eyes(canvas, head, look)
    return canvas


def _face(canvas, head, look):
    skin = canvas.on(Part.SKIN) & (canvas.z > 0)
    _beard(canvas, head, look, skin)
    middle = head.eye_y + head.brow_lift - look.brow_slant * (np.maximum(canvas.x - 3.4, 0) / 2)
    near = np.abs(canvas.y - middle) < 0.5 * look.brow_thickness
    canvas.fill(skin & near & (canvas.x > 1.5) & (canvas.x < 5.5), look.brow, gloss=0.0)
    across = np.clip(1 - (canvas.x / look.mouth_width) ** 2, 0, 1)
    height = np.abs(canvas.y - head.mouth_y)
    canvas.fill(skin & (height < look.lip * np.sqrt(across)), look.lips, gloss=look.shine)
    canvas.fill(skin & (height < 0.13) & (across > 0), 0.35 * look.lips, gloss=0.0)
    below = head.eye_y - 1.03 * head.nose_length
    canvas.seam(canvas.on(Part.NOSE) & (canvas.y < below))


def _beard(canvas, head, look, skin):
    if not look.beard:
        return
    edge = head.mouth_y + 1.6 + 0.45 * np.maximum(canvas.x - 2.5, 0)
    where = skin & (canvas.y < edge)
    canvas.fill(where, look.beard * look.hair + (1 - look.beard) * look.skin, gloss=0.0)


def _eyes(canvas, head, look):
    eyes = canvas.on(Part.EYE)
    away = np.arctan2(np.hypot(canvas.x, canvas.y), canvas.z)  # from the gaze
    iris = np.radians(head.iris_deg)
    canvas.fill(eyes, look.white, gloss=0.3)
    canvas.fill(eyes & (away < iris), look.iris, gloss=0.3)
    canvas.fill(eyes & (away < _PUPIL_SHARE * iris), _PUPIL, gloss=0.3)
