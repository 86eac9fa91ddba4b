"""Light, ground and backgrounds around a car. NumPy and Pillow only.

The ground is a real plane seen by the same camera, so horizon and shadow agree with elevation and
tilt; half of the pictures have a background that tells nothing about the viewpoint instead.
"""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from ssv_tf.data.turntable_cars.shapes import Car

_GAMMA = 2.2
_BLURRED_SIZE = 64


@dataclass(frozen=True)
class Scene:
    """Everything about a picture that is not the car or the viewpoint.

    Colours are linear RGB. The mirrored scene, seen at the mirrored viewpoint, gives the mirrored
    picture.

    Attributes:
      kind: "ground" (plane, horizon and sky), "texture" (blurry) or "plain".
      sun: unit vector to the light, object space; strengths of sun and ambient light follow.
      sky, ground: colours of the upper and the lower half of the surroundings.
      backdrop: uint8 [64, 64, 3], a blurry picture (not linear), used by every kind.
      distance: of the camera, in car lengths. fill: car length on the picture, share of its
        width. shift: of the car's centre, shares of the width, x right and y down.
      exposure: factor on light. white: [3] factor per channel. noise: standard deviation after
        gamma, shares of white. horizon_height: of trees and houses behind, in radians.
    """

    kind: str
    sun: np.ndarray
    sun_strength: float
    ambient: float
    sky: np.ndarray
    ground: np.ndarray
    backdrop: np.ndarray
    distance: float
    fill: float
    shift: np.ndarray
    exposure: float
    white: np.ndarray
    noise: float
    horizon_height: float
    mirrored: bool = False

    def mirror(self) -> "Scene":
        """The scene as seen in a mirror: light, shift and backdrop change sides."""
        flip = np.array([-1.0, 1.0, 1.0])
        changed = {
            "sun": self.sun * flip,
            "shift": self.shift * flip[:2],
            "backdrop": self.backdrop[:, ::-1],
            "mirrored": not self.mirrored,
        }
        return replace(self, **changed)


def draw_scene(rng: np.random.Generator, car: Car) -> Scene:
    """Draws light, surroundings and camera for `car`."""
    return draw_surroundings(rng, 0.75 * np.sqrt(car.length / 4.5))


def draw_surroundings(rng: np.random.Generator, fill: float) -> Scene:
    """Draws light, surroundings and a camera that fills about the share `fill` of the width."""
    kind = ("ground", "texture", "plain")[rng.choice(3, p=[0.5, 0.3, 0.2])]
    height, turn = np.radians(rng.uniform(20, 80)), rng.uniform(-np.pi, np.pi)
    level = np.cos(height)
    sun = np.array([level * np.sin(turn), np.sin(height), level * np.cos(turn)])
    return Scene(
        kind=kind,
        sun=sun,
        sun_strength=rng.uniform(0.25, 1.1),
        ambient=rng.uniform(0.45, 0.8),
        sky=_draw_colour(rng, 0.45, 0.98, 0.10),
        ground=_draw_colour(rng, 0.25, 0.75, 0.07),
        backdrop=_draw_backdrop(rng, plain=kind == "plain"),
        distance=float(np.exp(rng.uniform(np.log(1.8), np.log(4.5)))),
        fill=fill * rng.uniform(0.88, 1.12),
        shift=rng.uniform(-0.035, 0.035, 2),
        exposure=rng.uniform(0.8, 1.2),
        white=rng.uniform(0.95, 1.05, 3),
        noise=rng.uniform(0.0, 0.02),
        horizon_height=rng.uniform(0.0, 0.25),
    )


def studio() -> Scene:
    """A fixed, left-right symmetric scene, for contact sheets and tests."""
    grey = np.full((_BLURRED_SIZE, _BLURRED_SIZE, 3), 190, np.uint8)
    return Scene(
        kind="ground",
        sun=np.array([0.0, 0.8, 0.6]),
        sun_strength=0.45,
        ambient=0.7,
        sky=np.array([0.62, 0.70, 0.80]),
        ground=np.full(3, 0.35),
        backdrop=grey,
        distance=2.8,
        fill=0.78,
        shift=np.zeros(2),
        exposure=1.0,
        white=np.ones(3),
        noise=0.0,
        horizon_height=0.0,
    )


def _draw_colour(rng, low, high, spread):
    return np.clip(rng.uniform(low, high) + rng.uniform(-spread, spread, 3), 0.02, 1) ** _GAMMA


def _draw_backdrop(rng, plain):
    """Random blobs of colour, blurred; for a plain backdrop only a gradient."""
    cells = 2 if plain else int(rng.integers(3, 12))
    contrast = 0.06 if plain else rng.uniform(0.05, 0.18)
    base = rng.uniform(0.15, 0.85) + rng.uniform(-0.07, 0.07, 3)
    common = rng.normal(0, contrast, (cells, cells, 1))
    blobs = base + common + rng.normal(0, 0.3 * contrast, (cells, cells, 3))
    raw = (np.clip(blobs, 0, 1) * 255).astype(np.uint8)
    size = (_BLURRED_SIZE, _BLURRED_SIZE)
    return np.asarray(Image.fromarray(raw).resize(size, Image.Resampling.BICUBIC))


def background(scene: Scene, rays: np.ndarray, eye: np.ndarray, car: Car) -> np.ndarray:
    """Colours behind the car.

    Args:
      scene: light and surroundings.
      rays: [R, R, 3] directions through the pixels, object space, any length.
      eye: [3] place of the camera, object space (origin at the car's centre).
      car: throws the shadow; half its height is the height of the origin above the ground.

    Returns:
      [R, R, 3] linear colours, with the car's soft shadow on the ground.
    """
    size = rays.shape[0]
    drop = np.maximum(-rays[..., 1], 1e-4)
    reach = (eye[1] + 0.5 * car.height) / drop
    down = (rays[..., 1] < 0) & (eye[1] > -0.5 * car.height)
    x, z = eye[0] + reach * rays[..., 0], eye[2] + reach * rays[..., 2]
    shade = np.where(down, _shadow(x, z, scene, car), 1.0)[..., None]
    if scene.kind != "ground":
        return stretched(scene.backdrop, size) * shade
    return np.where(down[..., None], _floor(scene, x, z, reach), _above(scene, rays)) * shade


def stretched(picture: np.ndarray, size: int) -> np.ndarray:
    """The backdrop at `size` pixels, linear: [size, size, 3]."""
    smooth = Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR)
    return _linear(np.asarray(smooth))


def _linear(picture):
    return (picture / 255.0) ** _GAMMA


def _floor(scene, x, z, reach):
    x = -x if scene.mirrored else x
    spots = scene.backdrop[:, ::-1] if scene.mirrored else scene.backdrop
    row, column = (
        np.floor(8 * coordinate).astype(np.int64) % _BLURRED_SIZE for coordinate in (z, x)
    )
    near = 0.75 * scene.ground + 0.25 * _linear(spots)[row, column]
    haze = 1 - np.exp(-reach / 60.0)[..., None]
    return near * (1 - haze) + (0.6 * scene.ground + 0.4 * scene.sky) * haze


def _above(scene, rays):
    height = rays[..., 1] / np.linalg.norm(rays, axis=-1)
    lift = np.clip(height / 0.7, 0, 1)[..., None]
    sky = scene.sky * (1 - 0.35 * lift * np.array([1.0, 0.7, 0.4]))
    behind = stretched(scene.backdrop, rays.shape[0])
    return np.where((height < scene.horizon_height)[..., None], behind, sky)


def _shadow(x, z, scene, car):
    """Light that reaches the ground: a soft dark patch under the car, drawn away from the sun."""
    away = -scene.sun[[0, 2]] / scene.sun[1] * 0.12 * car.height * scene.sun_strength
    outside_x = np.abs(x - away[0]) - 0.42 * car.width
    outside_z = np.abs(z - away[1]) - 0.45 * car.length
    far = np.hypot(np.maximum(outside_x, 0), np.maximum(outside_z, 0))
    return 1 - 0.78 * np.exp(-((far / 0.28) ** 2))
