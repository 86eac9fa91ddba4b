"""The pictures that a student with ImageNet features learns from, each read once."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ssv_tf.base.errors import UserError
from ssv_tf.data import cutouts, folder, read_policy, sources
from ssv_tf.data.reading import BadPicture
from ssv_tf.training import run_folder, student_run
from ssv_tf.training.student_run import Source

MOST_BEHIND = 2000  # pictures kept to be put behind cut-outs


@dataclasses.dataclass(frozen=True)
class Pictures:
    """The same pictures as the teacher sees them, and as layers for the student."""

    squares: np.ndarray  # uint8 [n, r, r, 3]
    layers: np.ndarray  # uint8 [n, S, S, 4], S: `side`


def side(source: Source, resolution: int) -> int:
    """Side of a layer: twice the student's, and of rendered cars, which fill it, the student's."""
    return resolution if source.data_dir == sources.EMBEDDED else 2 * resolution


def load(run: run_folder.Run, resolution: int, source: Source) -> Pictures:
    """Reads every picture once, for teacher and student; names and counts what cannot be read."""
    framing = run.options.framing
    if source.data_dir == sources.EMBEDDED:
        return _rendered_cars(framing.resolution, resolution, source)
    asked = run.options.pictures
    table = asked.labels if source.data_dir == asked.data else ""

    def read(path: Path) -> tuple[np.ndarray, ...]:
        return framing.read(path), cutouts.layer(path, side(source, resolution))

    return Pictures(*_read_folder(source, table, read))


def _rendered_cars(teacher_resolution: int, resolution: int, source: Source) -> Pictures:
    """The embedded cars, with the surroundings that they are rendered in."""
    larger = max(teacher_resolution, resolution)
    cars = sources.load_collection(
        sources.EMBEDDED, resolution=larger, limit=source.limit or None
    ).images
    colours = student_run.shrunk(cars, resolution)
    opaque = np.full((*colours.shape[:3], 1), 255, np.uint8)
    return Pictures(
        student_run.shrunk(cars, teacher_resolution), np.concatenate([colours, opaque], axis=-1)
    )


def load_scenes(folder_path: str, side: int) -> np.ndarray:
    """Layers of all photos of a folder, uint8 [n, side, side, 4]; errors as `load`."""
    return _read_folder(Source(folder_path), "", lambda path: (cutouts.layer(path, side),))[0]


def _read_folder(
    source: Source, table: str, read: Callable[[Path], tuple[np.ndarray, ...]]
) -> list[np.ndarray]:
    """What `read` makes of each chosen picture, stacked; bad ones are named and counted.

    Raises:
      UserError: fewer than two usable pictures.
    """
    data_dir = source.data_dir
    only = sources.selected_names(data_dir, source.where, table)
    paths, skipped = folder.choose_paths(data_dir, only, source.limit or None)
    good: list[tuple[np.ndarray, ...]] = []

    def tried(path: Path) -> tuple[np.ndarray, ...] | BadPicture:
        try:
            return read(path)
        except BadPicture as error:
            return error

    results = folder.in_threads(tried, paths.values(), None)
    for name, loaded in zip(paths, results, strict=True):
        if isinstance(loaded, BadPicture):
            skipped.append((name, str(loaded)))
        else:
            good.append(loaded)
    read_policy.report_skipped(skipped, data_dir, len(good))
    if len(good) < 2:
        raise UserError(f"{data_dir} has {len(good)} usable pictures; a student needs two")
    return [np.stack(arrays) for arrays in zip(*good, strict=True)]


def backgrounds(folder_path: str, side: int) -> np.ndarray:
    """Pictures to put behind cut-outs, uint8 [m, side, side, 3]; errors as `folder.load_folder`."""
    return folder.load_folder(
        folder_path, side, crop="height", canvas_heights=1.0, limit=MOST_BEHIND
    ).images


def on_grey(layers: np.ndarray, resolution: int) -> np.ndarray:
    """Layers as the student's framing shows them: uint8 [n, R, R, 3]."""
    grey = np.full_like(layers[..., :3], 128)
    return student_run.shrunk(cutouts.over(layers, grey), resolution)
