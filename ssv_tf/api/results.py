"""What the methods of a model return: views, calibrations, scores, turntables."""

import csv
import dataclasses
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ssv_tf import viewpoint
from ssv_tf.base import files
from ssv_tf.base.errors import UserError
from ssv_tf.models import decoding

if TYPE_CHECKING:
    import pandas
    from PIL import Image

    from ssv_tf.evaluation.calibration import Calibration

ANGLE_COLUMNS = tuple(f"{angle}_deg" for angle in viewpoint.ANGLES)
COLUMNS = ("filename", *ANGLE_COLUMNS)

_SHOWN = 10  # rows of a table that print() shows


@dataclasses.dataclass(frozen=True)
class Views:
    """Viewpoints of pictures, in the order of the pictures.

        views = model.predict("photos/")
        views.azimuth_deg.mean(), len(views), views.skipped
        views.to_csv("angles.csv")

    Attributes:
      names: the path of each picture, or `picture_0`, ... of one in memory.
      angles_deg: float64 [n, 3], azimuth, elevation and tilt in degrees, in (-180, 180].
      confidence: float64 [n], probability from 0 to 1 that the azimuth is right; None where the
        model's calibration cannot tell.
      novelty: float64 [n], from 0: how little a picture looks like those of the calibration. Above
        1, as about 2 % of pictures of the same kind are, it may well show something else, and its
        confidence falls to 0. None where the model's calibration cannot tell.
      skipped: (name, reason) of each picture that could not be used.
      calibrated: whether the angles are in the convention; if not, they are the network's own.
      paths: the file of each picture; None of one in memory.
    """

    names: list[str]
    angles_deg: np.ndarray
    confidence: np.ndarray | None = None
    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    calibrated: bool = True
    paths: list[Path | None] = dataclasses.field(default_factory=list, repr=False)
    novelty: np.ndarray | None = None

    @property
    def azimuth_deg(self) -> np.ndarray:
        """Degrees [n]; 0: the front faces the camera; grows as the nose turns to image left."""
        return self.angles_deg[:, 0]

    @property
    def elevation_deg(self) -> np.ndarray:
        """Degrees [n]; above 0: the camera is above the object."""
        return self.angles_deg[:, 1]

    @property
    def tilt_deg(self) -> np.ndarray:
        """Degrees [n]; above 0: the object is turned clockwise in the image."""
        return self.angles_deg[:, 2]

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[dict[str, str | float]]:
        return iter(self.rows())

    def rows(self) -> list[dict[str, str | float]]:
        """A dictionary a picture: degrees to two decimals (-0.00 is 0.00), the rest to three."""
        rows = []
        for i, name in enumerate(self.names):
            rounded = (round(float(angle), 2) + 0.0 for angle in self.angles_deg[i])
            row: dict[str, str | float] = dict(zip(COLUMNS, [name, *rounded], strict=True))
            row |= {key: round(float(known[i]), 3) for key, known in self._known().items()}
            rows.append(row)
        return rows

    def _known(self) -> dict[str, np.ndarray]:
        """What stands in the columns behind the angles, by their names."""
        return decoding.known_of(self)

    def to_csv(self, path: str | os.PathLike | None = None) -> str:
        """The table as CSV with a header; written to `path`, which is replaced, if that is given.

        Returns:
          the text.

        Raises:
          UserError: it cannot be written.
        """
        stream = io.StringIO()
        plain = csv.writer(stream, lineterminator="\n")
        # Before Python 3.13 a carriage return in a name is not quoted, and ends the row.
        quoting = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
        plain.writerow([*COLUMNS, *self._known()])
        for row in self.rows():
            name, *degrees = (row[column] for column in COLUMNS)
            last = [f"{row[key]:.3f}" for key in self._known()]
            writer = quoting if "\r" in str(name) else plain
            writer.writerow([name, *(f"{angle:.2f}" for angle in degrees), *last])
        return _written(stream.getvalue(), path)

    def to_json(self, path: str | os.PathLike | None = None) -> str:
        """The same as a JSON list of objects; see `to_csv`."""
        return _written(json.dumps(self.rows(), indent=1) + "\n", path)

    def to_pandas(self) -> "pandas.DataFrame":
        """The table as a pandas.DataFrame, unrounded.

        Raises:
          UserError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise UserError("pandas is not installed: pip install pandas") from error
        columns: dict[str, Any] = {"filename": self.names}
        columns |= {name: self.angles_deg[:, i] for i, name in enumerate(ANGLE_COLUMNS)}
        columns |= self._known()
        return pandas.DataFrame(columns)

    def __str__(self) -> str:
        lines = self.to_csv().splitlines()[: _SHOWN + 1]
        left = len(self) - _SHOWN
        lines += [f"... {left} more"] if left > 0 else []
        lines += [f"{len(self.skipped)} skipped"] if self.skipped else []
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True)
class CalibrationResult:
    """A calibration that was fitted, and what speaks against trusting it.

        print(model.calibrate(pictures, angles))

    Attributes:
      calibration: from the network's own angles to the convention.
      doubts: sentences; none where nothing speaks against it.
      pictures: how many it was fitted on.
      skipped: (name, reason) of each picture that could not be used.
      path: the file it was saved to; None where it is in memory alone.
    """

    calibration: "Calibration"
    doubts: tuple[str, ...]
    pictures: int
    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    path: Path | None = None

    def __str__(self) -> str:
        doubts = [f"doubt: {doubt}" for doubt in self.doubts]
        return "\n".join([f"calibrated on {self.pictures} pictures", self.table(), *doubts])

    def table(self) -> str:
        """The fit, a line an angle."""
        fitted = self.calibration
        lines = [f"{'':<10}{'kind':>10}{'scale':>9}{'offset':>10}{'median error':>15}"]
        for i, name in enumerate(viewpoint.ANGLES):
            if name in fitted.uncalibrated:
                lines.append(f"{name:<10}{'as it is':>10}: too few labels know it")
                continue
            residual = fitted.residual_deg[i]
            shown = "" if residual is None else f"{residual:.1f} deg"
            lines.append(
                f"{name:<10}{fitted.kinds[i]:>10}{fitted.scale[i]:>9.3f} "
                f"{fitted.offset_deg[i]:>6.1f} deg{shown:>15}"
            )
        if fitted.label_tolerance_deg:
            within = f"{fitted.label_tolerance_deg:g}"
            lines.append(f"errors of azimuth are those beyond the label's tolerance of {within}")
        if fitted.novelty is None:
            lines.append("it cannot tell pictures of something else")
        return "\n".join(lines + _warp_line(fitted))


def _warp_line(fitted: "Calibration") -> list[str]:
    from ssv_tf.evaluation import calibration

    if fitted.azimuth_warp == calibration.NO_WARP:
        return []
    low, high = calibration.warped(np.array([30.0, 60.0]), fitted.azimuth_warp)
    return [f"azimuth's quarters are warped: 30 becomes {low:.0f}, 60 becomes {high:.0f}"]


class Score(dict[str, Any]):
    """A score: for each angle its errors in degrees, beside the best constant and a random guess.

    score = model.evaluate(pictures, angles)
    score["azimuth"]["median_error_deg"], score["azimuth"]["within_30"]
    print(score)                                  # as a table
    json.dumps(score)                             # as `python -m ssv_tf.evaluate --json`
    """

    def __str__(self) -> str:
        from ssv_tf.evaluation import scoring

        return scoring.table(self)


@dataclasses.dataclass(frozen=True)
class Turntable:
    """Objects that the synthesis network draws, each from azimuths all around.

        model.turntable(count=4, views=12).save("turntable.gif")    # or .webp, .mp4, .png

    Attributes:
      pictures: uint8 [objects, views, R, R, 3].
      azimuth_deg: [views].
      closed: whether the views go all around; else from one end of the range to the other.
    """

    pictures: np.ndarray
    azimuth_deg: np.ndarray
    closed: bool = True

    def sheet(self) -> "Image.Image":
        """One picture: a row an object, a column a view."""
        from PIL import Image

        from ssv_tf.training.turntable import tile

        return Image.fromarray(tile(self.pictures))

    def frames(self) -> "list[Image.Image]":
        """The objects side by side, a picture a view, small ones enlarged.

        Where the views do not close, they swing back instead of jumping.
        """
        from ssv_tf.evaluation import animation

        return animation.frames(self.pictures, self.closed)

    def gif(self) -> bytes:
        """An animated GIF of `frames`."""
        return self._encoded(".gif")

    def save(self, path: str | os.PathLike) -> Path:
        """Writes `frames` as a .gif, .webp or .mp4, or `sheet` as a .png; replaces what is there.

        Raises:
          ValueError: another suffix.
          UserError: it cannot be written; for .mp4 also without `pip install 'ssv-tf[video]'`.
        """
        from ssv_tf.evaluation import animation

        suffix = Path(path).suffix.lower()
        if suffix == ".png":
            return files.write_atomically(path, png(self.sheet()))
        if suffix not in animation.SUFFIXES:
            raise ValueError(f"{path} must end in {', '.join(animation.SUFFIXES)} or .png")
        return files.write_atomically(path, self._encoded(suffix))

    def _encoded(self, suffix: str) -> bytes:
        from ssv_tf.evaluation import animation

        return animation.encode(self.frames(), suffix)


def png(image: "Image.Image") -> bytes:
    """A picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _written(text: str, path: str | os.PathLike | None) -> str:
    if path is not None:
        files.write_atomically(path, text)
    return text
