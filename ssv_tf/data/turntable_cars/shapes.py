"""Parametric cars: proportions of six classes, drawn at random. NumPy only.

A car stands on the ground (y = 0) with its nose at +z, as `ssv_tf.viewpoint` has it. Positions
along the car are fractions `s` of its length: 0 is the nose, 1 the tail.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

SHAPES = ("saloon", "hatch", "estate", "suv", "pickup", "van")

# (low, high) of each proportion: metres for sizes, fractions of the length for places along it,
# fractions of the car's own height for heights.
_COMMON = {
    "clearance": (0.14, 0.20),
    "belt": (0.60, 0.66),
    "wedge": (0.00, 0.05),
    "bonnet": (0.49, 0.55),
    "roof_width": (0.70, 0.80),
    "wheel_front": (0.175, 0.205),
    "wheel_rear": (0.790, 0.820),
    "wheel_radius": (0.300, 0.345),
    "nose_bulge": (0.05, 0.22),
    "tail_bulge": (0.03, 0.12),
}
_RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "saloon": {
        "length": (4.3, 5.0),
        "width": (1.72, 1.90),
        "height": (1.38, 1.50),
        "cowl": (0.27, 0.32),
        "roof_start": (0.42, 0.46),
        "roof_end": (0.66, 0.72),
        "window_base": (0.83, 0.88),
        "deck": (0.64, 0.70),
    },
    "hatch": {
        "length": (3.5, 4.3),
        "width": (1.62, 1.80),
        "height": (1.42, 1.58),
        "cowl": (0.24, 0.29),
        "roof_start": (0.40, 0.45),
        "roof_end": (0.84, 0.91),
        "window_base": (0.955, 0.975),
        "deck": (0.62, 0.67),
    },
    "estate": {
        "length": (4.4, 4.95),
        "width": (1.74, 1.90),
        "height": (1.42, 1.55),
        "cowl": (0.26, 0.31),
        "roof_start": (0.40, 0.44),
        "roof_end": (0.90, 0.93),
        "window_base": (0.965, 0.975),
        "deck": (0.62, 0.67),
    },
    "suv": {
        "length": (4.1, 4.95),
        "width": (1.78, 1.98),
        "height": (1.62, 1.88),
        "clearance": (0.22, 0.30),
        "bonnet": (0.53, 0.60),
        "cowl": (0.24, 0.29),
        "roof_start": (0.36, 0.41),
        "roof_end": (0.90, 0.94),
        "window_base": (0.965, 0.98),
        "deck": (0.60, 0.66),
        "wheel_radius": (0.345, 0.395),
        "roof_width": (0.74, 0.84),
    },
    "pickup": {
        "length": (4.9, 5.7),
        "width": (1.80, 2.00),
        "height": (1.70, 1.90),
        "clearance": (0.26, 0.34),
        "bonnet": (0.54, 0.60),
        "cowl": (0.24, 0.28),
        "roof_start": (0.33, 0.37),
        "roof_end": (0.50, 0.60),
        "window_base": (0.515, 0.62),
        "deck": (0.57, 0.61),
        "wheel_radius": (0.350, 0.405),
        "wheel_rear": (0.760, 0.790),
        "roof_width": (0.74, 0.82),
    },
    "van": {
        "length": (4.4, 5.5),
        "width": (1.78, 2.00),
        "height": (1.80, 2.35),
        "belt": (0.50, 0.56),
        "bonnet": (0.42, 0.48),
        "cowl": (0.11, 0.19),
        "roof_start": (0.25, 0.33),
        "roof_end": (0.955, 0.97),
        "window_base": (0.972, 0.98),
        "deck": (0.50, 0.55),
        "wheel_radius": (0.31, 0.36),
        "wheel_front": (0.15, 0.18),
        "roof_width": (0.82, 0.92),
        "nose_bulge": (0.08, 0.25),
    },
}


@dataclass(frozen=True)
class Car:
    """Proportions of one car: heights in metres, places along it as fractions of the length."""

    shape: str
    length: float
    width: float
    height: float
    clearance: float
    belt: float
    wedge: float
    bonnet: float
    cowl: float
    roof_start: float
    roof_end: float
    window_base: float
    deck: float
    roof_width: float
    wheel_radius: float
    wheel_front: float
    wheel_rear: float
    nose_bulge: float
    tail_bulge: float

    def z(self, s: Any) -> Any:
        """Place along the car (metres, nose positive) of the fraction `s`."""
        return self.length * (0.5 - s)

    def belt_at(self, z: Any) -> Any:
        """Height of the window line at `z`: it rises by `wedge` from nose to tail."""
        return self.belt - self.wedge * z / self.length


def draw_car(rng: np.random.Generator) -> Car:
    """Draws a class, all equally often, and its proportions, uniform in their ranges."""
    shape = SHAPES[rng.integers(len(SHAPES))]
    values = {
        name: float(rng.uniform(*bounds))
        for name, bounds in sorted((_COMMON | _RANGES[shape]).items())
    }
    for name in ("belt", "bonnet", "deck"):
        values[name] *= values["height"]
    if shape == "pickup":
        values["window_base"] = values["roof_end"] + 0.02
    return Car(shape=shape, **values)
