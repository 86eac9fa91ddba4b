"""What is painted on a car: windows, lights, grille, plates, door lines. NumPy only.

Everything is decided per visible point from its place on the car, and depends on |x| only, so
that every car is symmetric left-right.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike

from ssv_tf.data.turntable_cars.mesh import Part
from ssv_tf.data.turntable_cars.shapes import Car

_BLACK, _GLASS, _CHROME = (0.012,) * 3, (0.018, 0.022, 0.025), (0.55,) * 3
_TYRE, _PLASTIC = (0.02,) * 3, (0.035,) * 3
_HEADLIGHT, _TAIL_LIGHT = (0.92, 0.93, 0.90), (0.55, 0.012, 0.012)
_SEAM = 0.35

# Linear RGB of common paints and roughly how often they are bought.
_PAINTS = (
    (0.24, (0.78, 0.79, 0.78)),  # white
    (0.17, (0.13, 0.135, 0.14)),  # grey
    (0.18, (0.018, 0.018, 0.020)),  # black
    (0.12, (0.42, 0.43, 0.44)),  # silver
    (0.10, (0.03, 0.09, 0.32)),  # blue
    (0.08, (0.42, 0.018, 0.018)),  # red
    (0.04, (0.03, 0.16, 0.05)),  # green
    (0.03, (0.28, 0.21, 0.13)),  # beige, brown
    (0.02, (0.70, 0.22, 0.02)),  # orange
    (0.02, (0.72, 0.50, 0.03)),  # yellow
)


@dataclass(frozen=True)
class Look:
    """Colours and details of one car; lengths in metres, shares of the half width or height."""

    paint: np.ndarray
    roof: np.ndarray
    gloss: float
    cladding: float
    rim: float
    spokes: int
    rim_size: float
    plate: np.ndarray
    front_plate: bool
    grille: np.ndarray
    grille_width: float
    chrome: bool
    headlight: np.ndarray
    headlight_glow: float
    tail_style: int
    tail_width: float
    tail_height: float
    tail_glow: float
    pillar: float
    panelled: bool
    sunroof: bool
    dark_bumpers: bool


def draw_look(rng: np.random.Generator, car: Car) -> Look:
    """Draws paint and details that suit the class of `car`."""
    chances = np.array([chance for chance, _ in _PAINTS])
    base = np.array(_PAINTS[rng.choice(len(_PAINTS), p=chances / chances.sum())][1])
    paint = np.clip(base * rng.uniform(0.75, 1.3) * rng.uniform(0.93, 1.07, 3), 0.008, 0.85)
    dark_roof = rng.random() < 0.08
    rugged = car.shape in ("suv", "pickup")
    tall = car.shape in ("hatch", "estate", "suv", "van")
    return Look(
        paint=paint,
        roof=np.array(_BLACK) if dark_roof else paint,
        gloss=rng.uniform(0.3, 1.0),
        cladding=rng.uniform(0.2, 0.34) if rng.random() < (0.6 if rugged else 0.15) else 0.07,
        rim=rng.choice([0.55, 0.40, 0.25, 0.06]),
        spokes=int(rng.integers(5, 11)),
        rim_size=rng.uniform(0.62, 0.74),
        plate=np.array([(0.8, 0.8, 0.78), (0.75, 0.55, 0.05)][int(rng.random() < 0.25)]),
        front_plate=bool(rng.random() < 0.8),
        grille=np.sort(rng.uniform([0.36, 0.68], [0.55, 0.84])),
        grille_width=rng.uniform(0.35, 0.58),
        chrome=bool(rng.random() < 0.4),
        headlight=np.array([rng.uniform(0.64, 0.74), rng.uniform(0.90, 0.98)]),
        headlight_glow=rng.choice([0.12, 0.3, 1.2], p=[0.4, 0.35, 0.25]),
        tail_style=int(rng.integers(0, 2) if tall else rng.integers(1, 3)),
        tail_width=rng.uniform(0.22, 0.42),
        tail_height=rng.uniform(0.14, 0.22),
        tail_glow=rng.choice([0.06, 0.18, 0.5], p=[0.4, 0.35, 0.25]),
        pillar=rng.uniform(0.10, 0.34),
        panelled=bool(car.shape == "van" and rng.random() < 0.4),
        sunroof=bool(rng.random() < 0.15),
        dark_bumpers=bool(rng.random() < 0.15),
    )


class Canvas:
    """Visible points of an object and the colours painted on them so far.

    Attributes:
      parts: [n] `Part` numbers.
      x, y, z: [n] place on the car in metres; x is |x|, y from the ground.
      colour: [n, 3] linear albedo. glow: [n] light given off, in units of the colour.
      gloss: [n] strength of reflections.
    """

    def __init__(
        self, parts: np.ndarray, places: np.ndarray, colour: np.ndarray, gloss: float
    ) -> None:
        self.parts = parts
        self.x, self.y, self.z = np.abs(places[:, 0]), places[:, 1], places[:, 2]
        self.colour = np.tile(colour, (len(parts), 1))
        self.glow = np.zeros(len(parts))
        self.gloss = np.full(len(parts), gloss)

    def on(self, *parts: IntEnum) -> np.ndarray:
        """Mask of the points on any of `parts`."""
        return np.isin(self.parts, parts)

    def fill(
        self, mask: np.ndarray, colour: ArrayLike, gloss: ArrayLike = 0.2, glow: ArrayLike = 0.0
    ) -> None:
        """Paints the points of `mask`."""
        self.colour[mask] = colour
        self.gloss[mask] = gloss
        self.glow[mask] = glow

    def seam(self, mask: np.ndarray) -> None:
        """Darkens the points of `mask`, as a gap between panels does."""
        self.colour[mask] *= _SEAM


def paint(parts: np.ndarray, places: np.ndarray, car: Car, look: Look) -> Canvas:
    """Paints the visible points: parts [n], places [n, 3] -> colour, gloss and glow of each."""
    canvas = Canvas(parts, places, look.paint, look.gloss)
    canvas.fill(canvas.on(Part.UNDERSIDE), _BLACK, gloss=0.0)
    _flanks(canvas, car, look)
    _cabin(canvas, car, look)
    _front(canvas, car, look)
    _rear(canvas, car, look)
    _wheels(canvas, car, look)
    return canvas


def _flanks(canvas, car, look):
    body = canvas.on(Part.FLANK, Part.FRONT, Part.REAR)
    rise = (canvas.y - car.clearance) / (car.belt - car.clearance)
    canvas.fill(body & (rise < look.cladding), _PLASTIC, gloss=0.1)
    flank = canvas.on(Part.FLANK)
    for s in _door_seams(car):
        near = np.abs(canvas.z - car.z(s)) < 0.02
        canvas.seam(flank & near & (rise > 0.12))
        handle = (np.abs(canvas.z - car.z(s) - 0.16) < 0.09) & (np.abs(rise - 0.84) < 0.03)
        canvas.seam(flank & handle & (s > car.cowl + 0.05))
    arch = np.minimum(*_wheel_distances(canvas, car)) / car.wheel_radius
    if look.cladding > 0.1:
        canvas.fill(flank & (arch < 1.30), _PLASTIC, gloss=0.1)
    canvas.fill(flank & (arch < 1.12), _BLACK, gloss=0.0)


def _door_seams(car):
    """Places of the gaps around the doors: before the front door, between, behind the rear."""
    front = car.cowl + 0.03
    rear = min(car.roof_end, car.wheel_rear - 0.06)
    if car.shape == "pickup":
        rear = car.window_base - 0.01
    return front, 0.5 * (front + rear), rear


def _wheel_distances(canvas, car):
    height = canvas.y - car.wheel_radius
    return [np.hypot(height, canvas.z - car.z(s)) for s in (car.wheel_front, car.wheel_rear)]


def _cabin(canvas, car, look):
    canvas.fill(canvas.on(Part.ROOF), look.roof, gloss=look.gloss)
    belt = car.belt_at(canvas.z)
    rise = (canvas.y - belt) / (car.height - belt)  # 0 at the window line, 1 at the roof
    half = 0.5 * car.width * (0.93 + (car.roof_width - 0.93) * rise)
    canvas.fill(
        canvas.on(Part.WINDSCREEN) & (rise > 0.06) & (rise < 0.88) & (canvas.x < half - 0.07),
        _GLASS,
        gloss=1.4,
    )
    glazed = canvas.on(Part.REAR_WINDOW) & (rise > 0.12) & (rise < 0.84)
    canvas.fill(glazed & (canvas.x < half - 0.13), _GLASS, gloss=1.2)
    canvas.fill(canvas.on(Part.BED), _PLASTIC, gloss=0.0)
    _side_windows(canvas, car, look, rise)
    if look.sunroof:
        middle = np.abs(canvas.z - car.z(car.roof_start + 0.12)) < 0.4
        canvas.fill(canvas.on(Part.ROOF) & middle & (canvas.x < 0.42), _GLASS, gloss=1.2)
    canvas.fill(canvas.on(Part.MIRROR), look.roof, gloss=look.gloss)


def _side_windows(canvas, car, look, rise):
    side = canvas.on(Part.CABIN_SIDE, Part.ROOF) & (rise > 0.07) & (rise < 0.84)
    side &= canvas.x > 0.5 * car.width * car.roof_width * 0.9
    front = car.z(car.cowl + (car.roof_start - car.cowl) * rise) - 0.12
    rear = car.z(car.window_base + (car.roof_end - car.window_base) * rise) + look.pillar
    glass = side & (canvas.z < front) & (canvas.z > rear)
    _, middle, last = _door_seams(car)
    if look.panelled:
        glass &= canvas.z > car.z(middle)
    canvas.fill(glass, _GLASS, gloss=1.2)
    for s in (middle, last):
        if s == last and car.shape == "pickup":
            continue
        canvas.fill(glass & (np.abs(canvas.z - car.z(s)) < 0.05), _BLACK, gloss=0.1)


def _front(canvas, car, look):
    half, nose = 0.5 * car.width, car.z(0.0)
    rise = (canvas.y - car.clearance) / (car.bonnet - car.clearance)
    share = canvas.x / half
    front = canvas.on(Part.FRONT)
    if look.dark_bumpers:
        canvas.fill(front & (rise < 0.42), _PLASTIC, gloss=0.1)
    canvas.fill(front & (share < 0.62) & (rise > 0.10) & (rise < 0.28), _BLACK)
    low, high = look.grille
    grille = front & (share < look.grille_width) & (rise > low) & (rise < high)
    if look.chrome:
        canvas.fill(grille, _CHROME, gloss=0.9)
        inner = (share < look.grille_width - 0.05) & (rise > low + 0.05) & (rise < high - 0.06)
        grille &= inner
    canvas.fill(grille, _BLACK)
    if look.front_plate:
        plate = (canvas.x < 0.26) & (np.abs(rise - 0.33) < 0.055 / (car.bonnet - car.clearance))
        canvas.fill(front & plate, look.plate)
    low, high = look.headlight
    lamp = (rise > low) & (rise < high) & (share > 0.56)
    lamp &= canvas.z > nose - 0.16 - 0.25 * share
    canvas.fill(
        canvas.on(Part.FRONT, Part.FLANK) & lamp, _HEADLIGHT, gloss=1.0, glow=look.headlight_glow
    )


def _rear(canvas, car, look):
    half, tail = 0.5 * car.width, car.z(1.0)
    belt = car.belt_at(tail)
    rear = canvas.on(Part.REAR)
    share = canvas.x / half
    rise = (canvas.y - car.clearance) / (belt - car.clearance)
    if look.dark_bumpers:
        canvas.fill(rear & (rise < 0.38), _PLASTIC, gloss=0.1)
    canvas.fill(rear & (rise < 0.14), _PLASTIC, gloss=0.1)
    canvas.seam(rear & (np.abs(rise - 0.42) < 0.015))
    plate = (canvas.x < 0.26) & (np.abs(canvas.y - belt + 0.36) < 0.06)
    canvas.fill(rear & plate, look.plate)
    _tail_lights(canvas, car, look, share, belt)


def _tail_lights(canvas, car, look, share, belt):
    top = belt - 0.06
    height = look.tail_height
    if look.tail_style == 0:  # upright, at the corners
        height *= 2.0
        lamp = share > 0.74
    elif look.tail_style == 1:  # lying
        lamp = share > 0.92 - look.tail_width
    else:  # from side to side
        height *= 0.7
        lamp = share >= 0.0
    lamp &= (canvas.y < top) & (canvas.y > top - height)
    near = canvas.z < car.z(1.0) + 0.06 + 0.22 * share**4
    lamp &= canvas.on(Part.REAR, Part.FLANK) & near
    canvas.fill(lamp, _TAIL_LIGHT, gloss=0.8, glow=look.tail_glow)


def _wheels(canvas, car, look):
    canvas.fill(canvas.on(Part.TYRE), _TYRE, gloss=0.0)
    disc = canvas.on(Part.WHEEL)
    if not disc.any():
        return
    to_front, to_rear = _wheel_distances(canvas, car)
    radius = np.minimum(to_front, to_rear) / car.wheel_radius
    along = canvas.z - np.where(to_front < to_rear, car.z(car.wheel_front), car.z(car.wheel_rear))
    angle = np.arctan2(canvas.y - car.wheel_radius, along)
    canvas.fill(disc, _TYRE, gloss=0.0)
    canvas.fill(disc & (radius < look.rim_size), (look.rim,) * 3, gloss=0.5)
    gap = (np.cos(look.spokes * angle) > 0.25) & (radius > 0.2) & (radius < look.rim_size - 0.08)
    canvas.fill(disc & gap, (0.25 * look.rim,) * 3, gloss=0.1)
