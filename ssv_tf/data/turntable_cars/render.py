"""One picture of one car: camera, z-buffer, shading, film. NumPy and Pillow only.

Angles arrive as a rotation matrix (`viewpoint.rotation_matrix`: camera to object space), so
that this module decides no signs and its processes need neither Keras nor TensorFlow.
"""

from collections.abc import Callable

import numpy as np

from ssv_tf.data.turntable_cars.mesh import Mesh, build_mesh
from ssv_tf.data.turntable_cars.paint import Canvas, Look, draw_look, paint
from ssv_tf.data.turntable_cars.raster import Fragments, rasterise
from ssv_tf.data.turntable_cars.scene import Scene, background, draw_scene
from ssv_tf.data.turntable_cars.shapes import Car, draw_car

_SUPERSAMPLING = 2
_CAR_STREAM, _LOOK_STREAM, _SCENE_STREAM, _NOISE_STREAM = 1, 2, 3, 4
_GAMMA = 2.2


def stream(seed_tuple: tuple[int, ...], number: int) -> np.random.Generator:
    """Independent random numbers for one purpose of one picture."""
    return np.random.default_rng(np.random.SeedSequence(seed_tuple, spawn_key=(number,)))


def draw_car_of(seed_tuple: tuple[int, ...]) -> Car:
    """The car of a picture."""
    return draw_car(stream(seed_tuple, _CAR_STREAM))


def draw(seed_tuple: tuple[int, ...]) -> tuple[Car, Look, Scene]:
    """The car and the scene of a picture, independent of its resolution and viewpoint."""
    car = draw_car_of(seed_tuple)
    look = draw_look(stream(seed_tuple, _LOOK_STREAM), car)
    return car, look, draw_scene(stream(seed_tuple, _SCENE_STREAM), car)


def render_picture(
    seed_tuple: tuple[int, ...], resolution: int, rotation: np.ndarray
) -> tuple[np.ndarray, str]:
    """Renders the picture that belongs to `seed_tuple`.

    Args:
      seed_tuple: decides car, scene and noise.
      resolution: pixels of a side.
      rotation: [3, 3], camera space to object space.

    Returns:
      (uint8 [resolution, resolution, 3], class of the car's shape).
    """
    car, look, scene = draw(seed_tuple)
    noise = stream(seed_tuple, _NOISE_STREAM)
    return photograph(car, look, scene, resolution, rotation, noise), car.shape


def photograph(
    car: Car,
    look: Look,
    scene: Scene,
    resolution: int,
    rotation: np.ndarray,
    noise: np.random.Generator,
) -> np.ndarray:
    """Renders and develops: uint8 [resolution, resolution, 3]."""
    return develop(render_linear(car, look, scene, resolution, rotation), scene, noise)


def render_linear(
    car: Car, look: Look, scene: Scene, resolution: int, rotation: np.ndarray
) -> np.ndarray:
    """Light on the film, float64 [resolution, resolution, 3], linear, before exposure."""
    return expose(
        build_mesh(car),
        car.length,
        lambda parts, places: paint(parts, places, car, look),
        lambda rays, eye: background(scene, rays, eye, car),
        scene,
        resolution,
        rotation,
    )


def expose(
    mesh: Mesh,
    length: float,
    painted: Callable[[np.ndarray, np.ndarray], Canvas],
    behind: Callable[[np.ndarray, np.ndarray], np.ndarray],
    scene: Scene,
    resolution: int,
    rotation: np.ndarray,
) -> np.ndarray:
    """Light that any object and what lies behind it throw on the film.

    Args:
      mesh: the object; the camera looks at its origin.
      length: of the object, in the mesh's unit; `scene` gives the camera in such lengths.
      painted: parts [n] and places [n, 3] of the visible points -> their colours.
      behind: rays [resolution, resolution, 3] and eye [3], object space -> linear colours.
      scene: light and camera.
      resolution: pixels of a side.
      rotation: [3, 3], camera space to object space.

    Returns:
      float64 [resolution, resolution, 3], linear, before exposure.
    """
    size = resolution * _SUPERSAMPLING
    focal = scene.fill * scene.distance * size
    eye_distance = scene.distance * length
    eye = rotation @ [0.0, 0.0, eye_distance]
    rays = _rays(resolution, focal / _SUPERSAMPLING, scene.shift, rotation)
    film = behind(rays, eye)
    film = np.repeat(np.repeat(film, _SUPERSAMPLING, 0), _SUPERSAMPLING, 1).reshape(-1, 3)
    points, depths = _project(mesh.vertices @ rotation, eye_distance, focal, scene.shift, size)
    seen = rasterise(points, depths, mesh.triangles, size)
    film[seen.pixels] = _surface(mesh, seen, painted, scene, eye)
    shape = (resolution, _SUPERSAMPLING, resolution, _SUPERSAMPLING, 3)
    return film.reshape(shape).mean(axis=(1, 3))


def develop(light: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Exposure, white balance, gamma and noise: linear light to uint8."""
    exposed = np.clip(light * scene.exposure * scene.white, 0, None) ** (1 / _GAMMA)
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    if scene.mirrored:
        noise = noise[:, ::-1]
    return np.clip(255 * (exposed + scene.noise * noise) + 0.5, 0, 255).astype(np.uint8)


def _rays(resolution, focal, shift, rotation):
    """Directions through the pixel centres, in object space: [resolution, resolution, 3]."""
    centres = (np.arange(resolution) + 0.5) - 0.5 * resolution
    x = (centres - shift[0] * resolution) / focal
    y = -(centres - shift[1] * resolution) / focal
    grid = np.stack(np.broadcast_arrays(x[None, :], y[:, None], -1.0), axis=-1)
    return grid @ rotation.T


def _project(camera_points, eye_distance, focal, shift, size):
    """Pinhole camera at z = eye_distance that looks at the origin: picture positions, depths."""
    depths = eye_distance - camera_points[:, 2]
    flat = camera_points[:, :2] * [1.0, -1.0] * (focal / depths)[:, None]
    return flat + (0.5 + shift) * size, depths


def _surface(
    mesh: Mesh,
    seen: Fragments,
    painted: Callable[[np.ndarray, np.ndarray], Canvas],
    scene: Scene,
    eye: np.ndarray,
) -> np.ndarray:
    """Colours of the visible points: [n, 3], linear."""
    corners = mesh.triangles[seen.triangles]
    weights = seen.weights[:, None, :]
    places = (weights @ mesh.places[corners])[:, 0]
    points = (weights @ mesh.vertices[corners])[:, 0]
    normals = _unit((weights @ mesh.normals[seen.triangles])[:, 0])
    canvas = painted(mesh.parts[seen.triangles], places)
    return _shade(canvas, normals, _unit(eye - points), scene)


def _shade(canvas: Canvas, normals: np.ndarray, to_eye: np.ndarray, scene: Scene) -> np.ndarray:
    """Ambient + Lambert + Fresnel reflection of the surroundings + a highlight of the sun."""
    facing = np.abs(np.einsum("ij,ij->i", normals, to_eye))
    sunlit = np.maximum(normals @ scene.sun, 0)
    open_sky = (0.5 + 0.5 * normals[:, 1])[:, None]
    around = scene.sky * open_sky + 0.5 * scene.ground * (1 - open_sky)
    diffuse = scene.ambient * around + scene.sun_strength * sunlit[:, None]
    mirrored = 2 * facing[:, None] * normals - to_eye
    blend = np.clip(2.5 * mirrored[:, 1:2] + 0.5, 0, 1)
    reflected = scene.sky * blend + 0.35 * scene.ground * (1 - blend)
    fresnel = canvas.gloss * (0.04 + 0.5 * (1 - facing) ** 4)
    highlight = np.maximum(mirrored @ scene.sun, 0) ** 40 * canvas.gloss * scene.sun_strength
    light = canvas.colour * (diffuse + canvas.glow[:, None])
    return light + fresnel[:, None] * reflected + 0.5 * highlight[:, None]


def _unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
