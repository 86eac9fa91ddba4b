"""Renders heads into a folder of PNG files with a table of their angles.

  python -m ssv_tf.data.turntable_heads OUT --count=4000 --resolution=64 --gaze=free --split=train

OUT/labels.csv is written last; beside the columns that calibrate and evaluate read it holds the
gaze, relative to the head: gaze_yaw_deg and gaze_pitch_deg.
"""

from collections.abc import Sequence

import numpy as np
from absl import flags

from ssv_tf.base import cli
from ssv_tf.data import labels, rendered
from ssv_tf.data.turntable_heads.collection import GAZES, SPLITS, render_range

COLUMNS = ("filename", *labels.ANGLE_COLUMNS, "gaze_yaw_deg", "gaze_pitch_deg")

_KIND = "head"


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


def define_flags() -> None:
    """Registers the command's flags."""
    rendered.define_flags(_KIND, SPLITS)
    flags.DEFINE_enum(
        "gaze",
        "free",
        list(GAZES),
        "free: independent of the head; with_head: turned further the way the head is; ahead: 0.",
    )


def main(argv: Sequence[str]) -> None:
    """Renders and writes the folder."""
    rendered.write_folder(argv, _KIND, COLUMNS, _rendered, f"gaze {flags.FLAGS.gaze}")


def _rendered(indices: range) -> tuple[np.ndarray, np.ndarray]:
    """Pictures, their angles and their gaze, by the command's flags."""
    values = flags.FLAGS
    images, pose = render_range(indices, values.resolution, values.split, values.gaze, values.seed)
    return images, np.hstack(pose)
