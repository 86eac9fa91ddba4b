"""One picture of one head: what is drawn from its seed, and how. NumPy and Pillow only.

Pose and gaze arrive as rotation matrices, so that this module decides no signs and its processes
need neither Keras nor TensorFlow.
"""

from dataclasses import replace

import numpy as np

from ssv_tf.data.turntable_cars.render import develop, expose, stream
from ssv_tf.data.turntable_cars.scene import Scene, draw_surroundings, stretched
from ssv_tf.data.turntable_heads.mesh import build_mesh
from ssv_tf.data.turntable_heads.paint import Look, draw_look, paint
from ssv_tf.data.turntable_heads.shapes import Head, draw_head

_HEAD_STREAM, _LOOK_STREAM, _SCENE_STREAM, _NOISE_STREAM = 1, 2, 3, 4
_FILL = 0.7  # height of a head on the picture, share of its side
_PALE = 0.3  # least light from all around
_FARTHER = 1.8  # a camera's distance in heads over that in cars


def draw(seed_tuple: tuple[int, ...]) -> tuple[Head, Look, Scene]:
    """The head and the scene of a picture, independent of resolution, pose and gaze."""
    head = draw_head(stream(seed_tuple, _HEAD_STREAM))
    look = draw_look(stream(seed_tuple, _LOOK_STREAM))
    return head, look, draw_scene(stream(seed_tuple, _SCENE_STREAM))


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draws light and camera; nothing behind the head tells its pose."""
    scene = draw_surroundings(rng, _FILL)
    kind = "texture" if scene.kind == "ground" else scene.kind
    return replace(
        scene,
        kind=kind,
        distance=_FARTHER * scene.distance,
        sky=_paler(scene.sky),
        ground=_paler(scene.ground),
    )


def _paler(colour):
    """Brighter and nearer to grey: faces are lit indoors."""
    return _PALE + (1 - _PALE) * (0.4 * colour + 0.6 * colour.mean())


def render_picture(
    seed_tuple: tuple[int, ...], resolution: int, rotations: np.ndarray
) -> np.ndarray:
    """Renders the picture that belongs to `seed_tuple`.

    Args:
      seed_tuple: decides head, scene and noise.
      resolution: pixels of a side.
      rotations: [2, 3, 3]; camera to object space, and object space to that of the eyes.

    Returns:
      uint8 [resolution, resolution, 3].
    """
    head, look, scene = draw(seed_tuple)
    noise = stream(seed_tuple, _NOISE_STREAM)
    return photograph(head, look, scene, resolution, rotations, noise)


def photograph(
    head: Head,
    look: Look,
    scene: Scene,
    resolution: int,
    rotations: np.ndarray,
    noise: np.random.Generator,
) -> np.ndarray:
    """Renders and develops: uint8 [resolution, resolution, 3]."""
    return develop(render_linear(head, look, scene, resolution, rotations), scene, noise)


def render_linear(
    head: Head, look: Look, scene: Scene, resolution: int, rotations: np.ndarray
) -> np.ndarray:
    """Light on the film, float64 [resolution, resolution, 3], linear, before exposure."""
    rotation, gaze_rotation = rotations
    return expose(
        build_mesh(head, gaze_rotation),
        head.height,
        lambda parts, places: paint(parts, places, head, look),
        lambda rays, eye: stretched(scene.backdrop, resolution),
        scene,
        resolution,
        rotation,
    )
