"""A collection of pictures in memory, with the angles of those that have a label."""

import dataclasses
import functools
import os
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from ssv_tf import viewpoint
from ssv_tf.data.names import match_names


@dataclasses.dataclass(frozen=True)
class PictureSet:
    """Pictures of one size, in a fixed order.

    Attributes:
      names: one name a picture; of a folder, the path below it with forward slashes.
      images: uint8 [N, R, R, 3], RGB.
      angles_deg: float32 [N, 3], azimuth, elevation, tilt; a row of NaN where a picture has no
        label. None where no picture has one.
      skipped: (name, reason) of each picture that could not be used.
      label_tolerance_deg: how far a true azimuth may be from its label, as half the width of a
        class; 0 where labels are measured.
    """

    names: list[str]
    images: np.ndarray
    angles_deg: np.ndarray | None = None
    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    label_tolerance_deg: float = 0.0

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
        return PictureSet(
            names, self.images[chosen], angles, self.skipped, self.label_tolerance_deg
        )

    def labelled(self) -> "PictureSet":
        """The pictures of which at least one angle is known."""
        return self.subset(self.has_label)

    def with_labels(
        self,
        labels: Mapping[str, np.ndarray],
        folder: str | os.PathLike | None = None,
        tolerance_deg: float = 0.0,
    ) -> "PictureSet":
        """The same pictures with angles taken from `labels`.

        Args:
          labels: filename -> [3] degrees, as `labels.read_labels` returns them.
          folder: that the names are below.
          tolerance_deg: becomes `label_tolerance_deg`.

        Raises:
          UserError: a filename fits two pictures.
        """
        angles = np.full((len(self), 3), np.nan, np.float32)
        keys = match_names(self.names, labels, folder=folder)
        for row, name in enumerate(self.names):
            if name in keys:
                angles[row] = labels[keys[name]]
        return dataclasses.replace(self, angles_deg=angles, label_tolerance_deg=tolerance_deg)

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
