"""Renders the embedded cars into a folder of PNG files with a table of their angles.

  python -m ssv_tf.data.write_cars OUT --split=train --count=4000 --resolution=32 --light=night

A folder to try the commands on that is yours to keep; with --light=night one that shows the same
cars as a network never saw them: dim, blue and noisy (`at_night`).
"""

from collections.abc import Sequence

import numpy as np
from absl import flags

from ssv_tf.base import cli
from ssv_tf.data import labels, rendered

LIGHTS = ("day", "night")
COLUMNS = ("filename", *labels.ANGLE_COLUMNS)

_KIND = "car"
_GAMMA = 2.2
_SPLITS = ("train", "calibration", "test")
# Of daylight, per channel: a street lamp's share under a blue sky.
_NIGHT_LIGHT = (0.10, 0.14, 0.22)
_NIGHT_NOISE = 0.04  # standard deviation after gamma, shares of white


def define_flags() -> None:
    """Registers the command's flags."""
    rendered.define_flags(_KIND, _SPLITS)
    flags.DEFINE_enum("light", "day", list(LIGHTS), "day: as embedded; night: dim, blue, noisy.")


def main(argv: Sequence[str]) -> None:
    """Renders and writes the folder."""
    rendered.write_folder(argv, _KIND, COLUMNS, _rendered, flags.FLAGS.light)


def _rendered(indices: range) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and their angles, by the command's flags."""
    from ssv_tf.data.turntable_cars.collection import render_range

    values = flags.FLAGS
    images, angles, _ = render_range(indices, values.resolution, values.split, values.seed)
    if values.light == "night":
        for i, index in enumerate(indices):
            images[i] = at_night(images[i], np.random.default_rng([values.seed, index]))
    return images, angles


def at_night(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The picture in little and blue light, with the noise of a sensor that must amplify it.

    Args:
      image: uint8 [R, R, 3].
      random: draws the noise and, within a factor of 1.5 either way, how dark it is.

    Returns:
      uint8 of the same shape.
    """
    light = np.array(_NIGHT_LIGHT) * np.exp(random.uniform(-0.4, 0.4))
    linear = (image / 255.0) ** _GAMMA * light
    shown = linear ** (1 / _GAMMA) + random.normal(0.0, _NIGHT_NOISE, image.shape)
    return np.clip(np.rint(255.0 * shown), 0, 255).astype(np.uint8)


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
