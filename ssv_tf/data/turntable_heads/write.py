"""Renders heads into a folder of PNG files with a table of their angles.

  python -m ssv_tf.data.turntable_heads OUT --count=4000 --resolution=64 --gaze=free --split=train

OUT/labels.csv is written last; beside the columns that calibrate and evaluate read it holds the
gaze, relative to the head: gaze_yaw_deg and gaze_pitch_deg.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import flags

from ssv_tf import cli
from ssv_tf.data import labels, rendered
from ssv_tf.data.turntable_heads.collection import GAZES, SPLITS, render_range
from ssv_tf.errors import FlagError

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


def main(argv) -> None:
    """Renders and writes the folder."""
    values = flags.FLAGS
    if len(argv) != 2:
        raise FlagError(f"name one folder to write, got {' '.join(argv[1:]) or 'none'}")
    folder = rendered.prepared(Path(argv[1]), values.overwrite, _KIND)
    rows = list(_written(folder, values))
    rendered.write_table(folder, COLUMNS, rows)
    print(
        f"{folder}: {len(rows)} heads of {values.resolution} px, {values.split}, "
        f"gaze {values.gaze}, and {rendered.TABLE}"
    )


def _written(folder: Path, values) -> Iterator[tuple[str, ...]]:
    """Writes the pictures; yields their rows of the table."""
    for indices in rendered.chunks(values.count):
        images, pose = render_range(
            indices, values.resolution, values.split, values.gaze, values.seed
        )
        for index, image, angles in zip(indices, images, np.hstack(pose), strict=True):
            name = rendered.write(folder, _KIND, index, image)
            yield name, *(f"{angle:.3f}" for angle in angles)
