"""Folders of rendered pictures with a table of their angles, for the commands that write them."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

from ssv_tf.base import files
from ssv_tf.base.errors import FlagError, UserError

TABLE = "labels.csv"
CHUNK = 2000  # pictures held in memory at a time
Render = Callable[[range], tuple[np.ndarray, np.ndarray]]


def define_flags(kind: str, splits: Iterable[str]) -> None:
    """Registers what every such command asks: how many, how large, which, over what."""
    flags.DEFINE_integer("count", 4000, "Pictures to render.", lower_bound=1)
    flags.DEFINE_integer(
        "resolution", 64, "Side of a picture in pixels.", lower_bound=16, upper_bound=1024
    )
    flags.DEFINE_enum("split", "train", list(splits), f"The splits share no {kind}.")
    flags.DEFINE_integer("seed", 0, f"Another seed gives other {kind}s.", lower_bound=0)
    flags.DEFINE_bool("overwrite", False, f"Replace the rendered {kind}s that are in the folder.")


def write_folder(
    argv: Sequence[str], kind: str, columns: Sequence[str], render: Render, remark: str
) -> None:
    """What every such command does once its flags are read: pictures, table, a line of summary.

    Args:
      argv: the command's words; the second is the folder.
      kind: what the pictures show and their names begin with.
      columns: of the table.
      render: indices -> pictures, uint8 [n, R, R, 3], and their numbers, [n, columns - 1].
      remark: what the summary says besides.

    Raises:
      FlagError: not one folder, or it holds something and is not to be overwritten.
      UserError: it cannot be written.
    """
    values = flags.FLAGS
    if len(argv) != 2:
        raise FlagError(f"name one folder to write, got {' '.join(argv[1:]) or 'none'}")
    folder, rows = prepared(Path(argv[1]), values.overwrite, kind), []
    for indices in chunks(values.count):
        for index, image, numbers in zip(indices, *render(indices), strict=True):
            name = write(folder, kind, index, image)
            rows.append((name, *(f"{number:.3f}" for number in numbers)))
    write_table(folder, columns, rows)
    print(
        f"{folder}: {len(rows)} {kind}s of {values.resolution} px, {values.split}, {remark}, "
        f"and {TABLE}"
    )


def chunks(count: int) -> Iterator[range]:
    """Indices below `count`, so many at a time as may be held in memory."""
    return (range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))


def prepared(folder: Path, overwrite: bool, kind: str) -> Path:
    """The folder to write, without the pictures and the table of an earlier call.

    Args:
      folder: may be missing; nothing in it but what `write` wrote is removed.
      overwrite: whether it may hold something.
      kind: what the pictures' names begin with.

    Raises:
      FlagError: it holds something and `overwrite` is false.
      UserError: it cannot be written.
    """
    ours = re.compile(rf"{re.escape(kind)}-[0-9]{{5,}}\.png")
    try:
        present = [path.name for path in folder.iterdir()] if folder.exists() else []
        if present and not overwrite:
            raise FlagError(f"{folder} is not empty; give --overwrite to replace its {kind}s")
        for name in present:
            if name == TABLE or ours.fullmatch(name):
                (folder / name).unlink()
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}") from error
    return folder


def write(folder: Path, kind: str, index: int, image: np.ndarray) -> str:
    """Writes a picture, uint8 [R, R, 3], as PNG; returns its name."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    name = f"{kind}-{index:05d}.png"
    files.write_atomically(folder / name, buffer.getvalue())
    return name


def write_table(folder: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Writes the table, last of all, as the pictures may take long."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    files.write_atomically(folder / TABLE, text.getvalue())
