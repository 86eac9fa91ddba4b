"""A collection of pictures in memory, with the angles of those that have a label."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import ArrayLike

from ssv_tf import viewpoint
from ssv_tf.base.errors import UserError


@dataclasses.dataclass(frozen=True)
class PictureSet:
    """Pictures of one size, in a fixed order.

    Attributes:
      names: one name a picture; of a folder, the path below it with forward slashes.
      images: uint8 [N, R, R, 3], RGB.
      angles_deg: float32 [N, 3], azimuth, elevation, tilt; a row of NaN where a picture has no
        label. None where no picture has one.
      skipped: (name, reason) of each picture that could not be used.
    """

    names: list[str]
    images: np.ndarray
    angles_deg: np.ndarray | None = None
    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        count = len(self.names)
        shape = self.images.shape
        if self.images.dtype != np.uint8 or len(shape) != 4 or shape[0] != count:
            raise ValueError(f"{count} names need uint8 [{count}, R, R, 3], got {shape}")
        if self.angles_deg is not None and self.angles_deg.shape != (count, 3):
            raise ValueError(f"{count} names need angles [{count}, 3], got {self.angles_deg.shape}")

    def __len__(self) -> int:
        return len(self.names)

    @functools.cached_property
    def has_label(self) -> np.ndarray:
        """Boolean [N]: at least one angle is known."""
        return np.any(self.known, axis=1)

    @functools.cached_property
    def known(self) -> np.ndarray:
        """Boolean [N, 3]: which angles are known."""
        if self.angles_deg is None:
            return np.zeros((len(self), 3), bool)
        return viewpoint.known(self.angles_deg)

    def subset(self, indices: ArrayLike) -> "PictureSet":
        """The pictures at `indices` (integers, or a boolean mask [N]), in that order."""
        chosen = np.arange(len(self))[np.asarray(indices, dtype=_index_type(indices))]
        angles = None if self.angles_deg is None else self.angles_deg[chosen]
        names = [self.names[i] for i in chosen]
        return PictureSet(names, self.images[chosen], angles, self.skipped)

    def labelled(self) -> "PictureSet":
        """The pictures of which at least one angle is known."""
        return self.subset(self.has_label)

    def with_labels(self, labels: Mapping[str, np.ndarray]) -> "PictureSet":
        """The same pictures with angles taken from `labels`.

        Args:
          labels: filename -> [3] degrees, as `labels.read_labels` returns them.

        Raises:
          UserError: a filename fits two pictures.
        """
        angles = np.full((len(self), 3), np.nan, np.float32)
        keys = match_names(self.names, labels)
        for row, name in enumerate(self.names):
            if name in keys:
                angles[row] = labels[keys[name]]
        return dataclasses.replace(self, angles_deg=angles)

    def summary(self) -> str:
        """One line for a log: how many pictures, of what size, labelled and skipped."""
        height, width = self.images.shape[1:3]
        return (
            f"{len(self)} pictures of {width} x {height} px, "
            f"{int(self.has_label.sum())} labelled, {len(self.skipped)} skipped"
        )


def _index_type(indices):
    """An empty list would otherwise be an array of floats, which cannot index."""
    return np.int64 if len(indices) == 0 else None


def match_names(
    names: Sequence[str],
    keys: Iterable[str],
    left: list[tuple[str, str]] | None = None,
) -> dict[str, str]:
    """Which filename of a table belongs to which picture.

    A filename is the picture's path below the data folder, or the end of it: `00001.jpg` finds
    `images/00001.jpg`, so that a table may lie beside a folder of pictures.

    Args:
      names: the pictures' paths below the data folder.
      keys: the table's filenames.
      left: takes (filename, reason) of each filename that finds no picture, or one that another
        filename has found.

    Returns:
      picture name -> filename, of the pictures that have one.

    Raises:
      UserError: the end of a path fits two pictures.
    """
    keys = list(keys)
    left = [] if left is None else left
    known = set(names)
    by_last_part: dict[str, list[str]] = {}
    for name in names:
        by_last_part.setdefault(PurePosixPath(name).name, []).append(name)
    matched = {key: key for key in keys if key in known}
    for key in (key for key in keys if key not in known):
        fitting = [
            n for n in by_last_part.get(PurePosixPath(key).name, ()) if n.endswith(f"/{key}")
        ]
        if len(fitting) > 1:
            raise UserError(
                f"the filename {key} fits {fitting[0]} and {fitting[1]}; give it with its folder"
            )
        if not fitting:
            left.append((key, "in the table, but no such picture"))
        elif matched.setdefault(fitting[0], key) != key:
            left.append((key, f"the same picture as {matched[fitting[0]]} in the table"))
    return matched
