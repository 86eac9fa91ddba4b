"""Whether scored pictures trained or calibrated the model too, by what the files hold."""

import functools
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ssv_tf.base import files
from ssv_tf.data import folder, reading

_DIGITS = 12  # of a hash
_SIDE, _WAVES = 32, 12  # of the grey picture, and of the cosine waves kept along each side
# Bits of 143 in which two pictures of the same thing differ. Of 600 photos recompressed at quality
# 60 all differ by fewer, cropped by 3 % most; of other photos of cars, faces and buses one in a
# hundred has a neighbour as near.
_ALIKE_BITS = 10


def hashes(images: np.ndarray) -> tuple[str, ...]:
    """Two hashes of each square, uint8 [n, R, R, 3], joined by a dash.

    The first is of its pixels. The second is perceptual: the signs of its slow cosine waves around
    their median (pHash, Zauner 2010), which a change of size, format or light leaves as they are.
    """
    return tuple(
        f"{hashlib.sha256(image.tobytes()).hexdigest()[:_DIGITS]}-{_look(image).hex()}"
        for image in images
    )


def _look(image: np.ndarray) -> bytes:
    grey = Image.fromarray(image).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    waves = (_cosines() @ np.asarray(grey, np.float64) @ _cosines().T).ravel()[1:]
    return np.packbits(waves > np.median(waves)).tobytes()


@functools.cache
def _cosines() -> np.ndarray:
    """The first rows of the discrete cosine transform, [waves, side]."""
    middles = np.arange(_SIDE) + 0.5
    return np.cos(np.pi / _SIDE * np.outer(np.arange(_WAVES), middles))


def count(scored: Iterable[str], others: Iterable[str]) -> int:
    """How many of `scored` have the pixels of one of `others`; both as `hashes`."""
    known = {one[:_DIGITS] for one in others}
    return sum(one[:_DIGITS] in known for one in scored)


def count_alike(scored: Iterable[str], others: Iterable[str]) -> int | None:
    """How many of `scored` look the same as one of `others` without having its pixels.

    Returns:
      the number; None where `others` were written down without their looks.
    """
    others = list(others)
    if not all("-" in one for one in others):
        return None
    known = {one[:_DIGITS] for one in others}
    new = [one for one in scored if one[:_DIGITS] not in known]
    if not new or not others:
        return 0
    bits, other_bits = (_bits(them) for them in (new, others))
    apart = (bits[:, None] != other_bits[None]).sum(axis=2)
    return int((apart.min(axis=1) <= _ALIKE_BITS).sum())


def _bits(these: Sequence[str]) -> np.ndarray:
    looks = [np.frombuffer(bytes.fromhex(one.split("-")[1]), np.uint8) for one in these]
    return np.unpackbits(np.stack(looks), axis=1)


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
    words = {
        "training": "were in the training folder",
        "calibration": "were calibrated on",
        "calibration_alike": "look the same as one calibrated on, such as another copy of it",
    }
    return [
        f"{number} of the {result['pictures']} scored pictures {words[use]}"
        for use, number in result["overlap"].items()
        if number
    ]
