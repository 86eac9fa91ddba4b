"""Renders heads into a folder of PNG files with a table of their angles.

  python -m ssv_tf.data.turntable_heads OUT --count=4000 --resolution=64 --gaze=free --split=train

OUT/labels.csv is written last; beside the columns that calibrate and evaluate read it holds the
gaze, relative to the head: gaze_yaw_deg and gaze_pitch_deg.
"""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

from ssv_tf import cli, files
from ssv_tf.data import labels
from ssv_tf.data.turntable_heads.collection import GAZES, SPLITS, render_range
from ssv_tf.errors import FlagError, UserError

COLUMNS = ("filename", *labels.ANGLE_COLUMNS, "gaze_yaw_deg", "gaze_pitch_deg")

_TABLE = "labels.csv"
_PICTURE_NAME = re.compile(r"head-[0-9]{5,}\.png")
_CHUNK = 2000  # pictures held in memory at a time


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


def define_flags() -> None:
    """Registers the command's flags."""
    flags.DEFINE_integer("count", 4000, "Pictures to render.", lower_bound=1)
    flags.DEFINE_integer(
        "resolution", 64, "Side of a picture in pixels.", lower_bound=16, upper_bound=1024
    )
    flags.DEFINE_enum(
        "gaze",
        "free",
        list(GAZES),
        "free: independent of the head; with_head: turned further the way the head is; ahead: 0.",
    )
    flags.DEFINE_enum("split", "train", list(SPLITS), "The splits share no head.")
    flags.DEFINE_integer("seed", 0, "Another seed gives other heads.", lower_bound=0)
    flags.DEFINE_bool("overwrite", False, "Replace the rendered heads that are in the folder.")


def main(argv) -> None:
    """Renders and writes the folder."""
    values = flags.FLAGS
    if len(argv) != 2:
        raise FlagError(f"name one folder to write, got {' '.join(argv[1:]) or 'none'}")
    folder = _prepared(Path(argv[1]), values.overwrite)
    rows = list(_written(folder, values))
    files.write_atomically(folder / _TABLE, _table(rows))
    print(
        f"{folder}: {len(rows)} heads of {values.resolution} px, {values.split}, "
        f"gaze {values.gaze}, and {_TABLE}"
    )


def _prepared(folder: Path, overwrite: bool) -> Path:
    """The folder to write, without the heads and the table of an earlier call."""
    try:
        present = [path.name for path in folder.iterdir()] if folder.exists() else []
        if present and not overwrite:
            raise FlagError(f"{folder} is not empty; give --overwrite to replace its heads")
        for name in present:
            if name == _TABLE or _PICTURE_NAME.fullmatch(name):
                (folder / name).unlink()
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}") from error
    return folder


def _written(folder: Path, values) -> Iterator[tuple[str, ...]]:
    """Writes the pictures; yields their rows of the table."""
    for start in range(0, values.count, _CHUNK):
        indices = range(start, min(start + _CHUNK, values.count))
        images, pose = render_range(
            indices, values.resolution, values.split, values.gaze, values.seed
        )
        for index, image, angles in zip(indices, images, np.hstack(pose), strict=True):
            name = f"head-{index:05d}.png"
            files.write_atomically(folder / name, _png(image))
            yield name, *(f"{angle:.3f}" for angle in angles)


def _png(image) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _table(rows) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    return text.getvalue()
