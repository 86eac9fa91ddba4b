"""Finds, straightens and crops the faces of a folder of pictures.

  python -m ssv_tf.data.align_faces photos/ aligned/ --resolution=128 --workers=4

The largest face of each picture is turned upright and cropped (similarity transform to 256 px, its
middle 192, then --resolution) into OUT under the picture's own name. OUT/faces.csv says how far
each was turned, OUT/skipped.csv what was left out and why. With --labels, OUT/labels.csv holds the
labels of the aligned faces: their tilt is the old one plus the rotation. The same command goes on
where it was stopped; without skipped.csv it tries again what was left out. Needs the package mtcnn
(pip install 'ssv-tf[faces]').
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import flags
from tqdm import tqdm

from ssv_tf.base import cli
from ssv_tf.base.errors import FlagError, UserError
from ssv_tf.data import begun, folder, labels
from ssv_tf.data.align_faces import detector, geometry, tables, worker
from ssv_tf.data.names import examples, match_names


def define_flags() -> None:
    """Registers this command's flags."""
    flags.DEFINE_integer(
        "resolution", 128, "Side of the aligned faces in pixels.", lower_bound=8, upper_bound=1024
    )
    flags.DEFINE_string("labels", "", "CSV of IN's angles, carried over to OUT/labels.csv.")
    flags.DEFINE_integer(
        "workers", 0, "Processes, each of about 1 GB; 0: one a core.", lower_bound=0
    )


def main(argv: Sequence[str]) -> None:
    """Aligns what is not aligned yet, writes the tables and says the counts."""
    values = flags.FLAGS
    if len(argv) != 3:
        raise FlagError("name two folders: IN, of pictures, and OUT, for the aligned faces")
    source, target = Path(argv[1]), Path(argv[2])
    _refuse_nested(source, target)
    detector.check()
    angles = labels.read_labels(values.labels) if values.labels else None
    jobs, unnameable = find_jobs(source, target)
    settings = worker.Settings(values.resolution)
    begun.begin(target, {"size": settings.size, "min_confidence": settings.min_confidence})
    book = tables.Tables(target)
    try:
        for done in unnameable:
            book.add(done)
        _align(jobs, book, settings, values.workers or len(os.sched_getaffinity(0)))
    finally:
        book.close()
    aligned, skipped = (len(book.rows[name]) for name in (tables.FACES, tables.SKIPPED))
    if not aligned:
        raise UserError(f"none of the {skipped} pictures has a face; see {target / tables.SKIPPED}")
    print(f"{target}: {aligned} faces aligned, {skipped} pictures skipped (see {tables.SKIPPED})")
    if angles is not None:
        _carry_labels(angles, book, target)


def find_jobs(source: Path, target: Path) -> tuple[list[worker.Job], list[worker.Done]]:
    """A job for each picture below `source`; names that are not UTF-8 are skipped at once.

    Raises:
      UserError: no folder, or no picture in it.
    """
    jobs, unnameable = [], []
    for path in folder.find_pictures(source):
        name = path.relative_to(source).as_posix()
        try:
            name.encode()
        except UnicodeEncodeError:
            printable = os.fsencode(name).decode("utf-8", "replace")
            unnameable.append(worker.Done(printable, reason="its name is not UTF-8"))
            continue
        jobs.append(worker.Job(name, path, target / name))
    if not jobs:
        raise UserError(f"no picture below {source}")
    return jobs, unnameable


def _refuse_nested(source: Path, target: Path) -> None:
    if target.resolve().is_relative_to(source.resolve()):
        raise FlagError(f"OUT ({target}) must not lie in IN ({source})")


def _align(
    jobs: Sequence[worker.Job], book: tables.Tables, settings: worker.Settings, workers: int
) -> None:
    left = [job for job in jobs if job.name not in book]
    bar = tqdm(
        total=len(jobs), initial=len(jobs) - len(left), unit="face", file=sys.stderr,
        dynamic_ncols=True,
    )  # fmt: skip
    with bar:
        for done in worker.align_all(left, settings, min(workers, len(left))) if left else ():
            book.add(done)
            bar.update()


def _carry_labels(angles: Mapping[str, np.ndarray], book: tables.Tables, target: Path) -> None:
    rotations = book.rotations_deg()
    matched = match_names(list(rotations), angles)
    rows = [
        (name, *geometry.carry(angles[matched[name]], rotations[name])) for name in sorted(matched)
    ]
    if not rows:
        raise UserError(
            f"no filename of --labels is an aligned picture (the table has {examples(angles)}; "
            f"aligned are {examples(rotations)})"
        )
    tables.write_labels(target / tables.LABELS, rows)
    print(f"{target / tables.LABELS}: labels of {len(rows)} faces")


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
