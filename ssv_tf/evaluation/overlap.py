"""Whether scored pictures trained or calibrated the model too, by what the files hold."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssv_tf.base import files
from ssv_tf.data import folder, reading

_DIGITS = 12  # of a hash


def hashes(images: np.ndarray) -> tuple[str, ...]:
    """A hash of each square, uint8 [n, R, R, 3]; equal pixels have an equal one."""
    return tuple(hashlib.sha256(image.tobytes()).hexdigest()[:_DIGITS] for image in images)


def count(scored: Iterable[str], others: Iterable[str]) -> int:
    """How many of `scored` are among `others`."""
    known = set(others)
    return sum(one in known for one in scored)


def in_training(
    data_dir: str | os.PathLike, names: Sequence[str], training: str | os.PathLike
) -> int | None:
    """How many files of a folder are, byte for byte, among those of the training folder.

    Args:
      data_dir: of the scored pictures.
      names: of those, below it.
      training: folder that the run was trained on.

    Returns:
      the number; None where the training folder is not here.
    """
    if not os.path.isdir(training):
        return None
    by_size: dict[int, list[Path]] = {}
    for path in folder.find_pictures(training):
        if path.is_file():
            by_size.setdefault(path.stat().st_size, []).append(path)
    known = {files.printable(p.relative_to(data_dir).as_posix()): p
             for p in folder.find_pictures(data_dir)}  # fmt: skip
    digests: dict[Path, str] = {}

    def digest(path: Path) -> str:
        if path not in digests:
            digests[path] = hashlib.sha256(reading.read_bytes(path)).hexdigest()
        return digests[path]

    def seen(path: Path) -> bool:
        alike = by_size.get(path.stat().st_size, ())
        return any(other.samefile(path) or digest(other) == digest(path) for other in alike)

    return sum(name in known and seen(known[name]) for name in names)


def doubts(result: dict[str, Any]) -> list[str]:
    """Sentences on a score whose pictures were used before."""
    words = {"training": "in the training folder", "calibration": "calibrated on"}
    return [
        f"{number} of the {result['pictures']} scored pictures were {words[use]}"
        for use, number in result["overlap"].items()
        if number
    ]
