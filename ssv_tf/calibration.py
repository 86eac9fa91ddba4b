"""From V's own angles to degrees of the convention, fitted on about a hundred labelled pictures.

Self-supervision leaves V's angles free up to what no picture can tell it: which end is the front,
which way round the circle counts up, how a step in the image scales. The paper settles that with
a straight line per angle on 100 labelled pictures (SSV section 4). A line cannot close a full
circle, so there the azimuth gets a sign and an offset instead.

Every fit shrugs off a fifth of half-circle (front-rear) mistakes, which V makes until late.
"""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np

from ssv_tf import files, viewpoint
from ssv_tf.errors import UserError

CONVENTION = (
    "degrees; azimuth 0 = front faces the camera, grows as the nose turns to image left; "
    "elevation > 0 = camera above; tilt > 0 = object turned clockwise in the image"
)
CIRCULAR, LINEAR = "circular", "linear"
FILE_NAME = "calibration.json"

_VERSION = 1
_FEWEST = 5  # below this a fit is a guess
_FEW = 30  # below this the offset is uncertain by several degrees
_MOST_COMPARED = 1000  # every pair of so many pictures is compared; more are thinned out
# Beyond this a range of +-azimuth is treated as the full circle.
_LIMITED_AZIMUTH_DEG = 100.0


@dataclasses.dataclass(frozen=True)
class Calibration:
    """calibrated = scale * raw + offset per angle, azimuth and the rest wrapped to (-180, 180].

    Attributes:
      scale: per angle; +1 or -1 where the kind is circular.
      offset_deg: per angle.
      kinds: "circular" or "linear" per angle.
      residual_deg: median absolute error on the fitted pictures, per angle; None if unknown.
      pictures: how many pictures were fitted.
    """

    scale: tuple[float, float, float]
    offset_deg: tuple[float, float, float]
    kinds: tuple[str, str, str] = (CIRCULAR, LINEAR, LINEAR)
    residual_deg: tuple[float | None, float | None, float | None] = (None, None, None)
    pictures: int = 0

    @classmethod
    def identity(cls) -> "Calibration":
        """Leaves the angles as they are."""
        return cls((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))

    def apply(self, raw_deg: np.ndarray) -> np.ndarray:
        """Calibrated degrees in (-180, 180]. raw_deg: [..., 3] -> [..., 3] float64."""
        raw_deg = np.asarray(raw_deg, np.float64)
        return viewpoint.wrap_deg(raw_deg * np.asarray(self.scale) + np.asarray(self.offset_deg))

    def to_json(self) -> str:
        """The calibration as JSON text."""
        angles = {
            name: {
                "kind": self.kinds[i],
                "scale": self.scale[i],
                "offset_deg": self.offset_deg[i],
                "residual_deg": self.residual_deg[i],
            }
            for i, name in enumerate(viewpoint.ANGLES)
        }
        head = {"version": _VERSION, "convention": CONVENTION}
        return json.dumps(head | angles | {"pictures": self.pictures}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str = "calibration") -> "Calibration":
        """Reads `to_json`'s text.

        Raises:
          UserError: not JSON, of another version, or without a number it needs; names `source`.
        """
        try:
            data = json.loads(text)
            if data["version"] != _VERSION:
                raise ValueError(f"version {data['version']!r}, need {_VERSION}")
            entries = [data[name] for name in viewpoint.ANGLES]
            return cls(
                scale=_triple(_number(entry["scale"]) for entry in entries),
                offset_deg=_triple(_number(entry["offset_deg"]) for entry in entries),
                kinds=_triple(_kind(entry["kind"]) for entry in entries),
                residual_deg=_triple(_optional(entry.get("residual_deg")) for entry in entries),
                pictures=int(data.get("pictures", 0)),
            )
        except KeyError as error:
            raise UserError(f"{source} is no calibration: it has no {error}") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{source} is no calibration: {error}") from error

    def save(self, path: str | os.PathLike) -> Path:
        """Writes the JSON file (never half of it)."""
        return files.write_atomically(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Calibration":
        """Reads a file that `save` wrote; UserError where it cannot."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read {path}: {error}") from error
        return cls.from_json(text, str(path))


def fit(raw_deg: np.ndarray, true_deg: np.ndarray, azimuth: str = CIRCULAR) -> Calibration:
    """Fits a calibration on labelled pictures.

    Args:
      raw_deg: [pictures, 3], V's predictions.
      true_deg: [pictures, 3], labels; any multiple of 360 may be added.
      azimuth: "circular" (sign and offset) or "linear" (the paper's line, limited range).

    Returns:
      The calibration. `doubts` tells how far to trust it.

    Raises:
      UserError: fewer than 5 pictures, or a prediction or label that is no number.
    """
    raw_deg, true_deg = _checked(raw_deg, true_deg)
    kinds = (_kind(azimuth), LINEAR, LINEAR)
    fits = [
        (_fit_circle if kind == CIRCULAR else _fit_line)(raw_deg[:, i], true_deg[:, i])
        for i, kind in enumerate(kinds)
    ]
    scale, offset_deg = (
        _triple(float(value) for value in column) for column in zip(*fits, strict=True)
    )
    calibration = Calibration(scale, offset_deg, kinds, pictures=len(raw_deg))
    residual = np.median(_errors(calibration.apply(raw_deg), true_deg), axis=0)
    return dataclasses.replace(calibration, residual_deg=_triple(map(float, residual)))


def azimuth_kind(azimuth_range_deg: float) -> str:
    """The kind of fit for a run trained on +-azimuth_range_deg: a line up to 100 (faces)."""
    return LINEAR if azimuth_range_deg <= _LIMITED_AZIMUTH_DEG else CIRCULAR


def doubts(calibration: Calibration, raw_deg: np.ndarray, true_deg: np.ndarray) -> list[str]:
    """What speaks against trusting a fit, one sentence each; empty when nothing does.

    Args:
      calibration: what `fit` returned for the same pictures.
      raw_deg, true_deg: [pictures, 3].
    """
    raw_deg, true_deg = _checked(raw_deg, true_deg)
    found = []
    if len(raw_deg) < _FEW:
        found.append(f"only {len(raw_deg)} pictures: about 100 settle the offset")
    found += _sign_doubt(calibration, raw_deg, true_deg)
    errors = _errors(calibration.apply(raw_deg), true_deg).mean(axis=0)
    for i, name in enumerate(viewpoint.ANGLES):
        constant = _least_offset(viewpoint.wrap_deg(true_deg[:, i]))
        if errors[i] >= _errors(constant, true_deg[:, i]).mean() - 1e-9:
            found.append(f"{name}: no better than one constant answer; it has not been learnt")
    return found


def _sign_doubt(calibration: Calibration, raw_deg: np.ndarray, true_deg: np.ndarray) -> list[str]:
    """Doubts the sign where the mirrored circle fits about as well."""
    if calibration.kinds[0] != CIRCULAR:
        return []
    here, mirrored = (
        _circle_error(sign, raw_deg[:, 0], true_deg[:, 0])[0]
        for sign in (calibration.scale[0], -calibration.scale[0])
    )
    if here < 0.9 * mirrored:
        return []
    return [f"azimuth: the mirrored circle fits about as well ({here:.1f} and {mirrored:.1f} deg)"]


def _fit_circle(raw_deg: np.ndarray, true_deg: np.ndarray) -> tuple[float, float]:
    """Sign and offset of least mean circular absolute error."""
    fits = [(*_circle_error(sign, raw_deg, true_deg), sign) for sign in (1.0, -1.0)]
    _, offset, sign = min(fits, key=lambda entry: entry[0])
    return sign, offset


def _circle_error(sign: float, raw_deg: np.ndarray, true_deg: np.ndarray) -> tuple[float, float]:
    """Mean circular error of the best offset for this sign, and that offset."""
    rest = viewpoint.wrap_deg(true_deg - sign * raw_deg)
    offset = _least_offset(rest)
    return float(_errors(offset, rest).mean()), offset


def _least_offset(angles_deg: np.ndarray) -> float:
    """The angle of least mean circular distance to `angles_deg` [pictures].

    The mean is piecewise linear in the offset with its convex kinks at the angles themselves, so
    the best of them is the exact minimum; where a whole stretch ties, its middle is taken.
    """
    candidates = _thinned(angles_deg)
    means = _errors(candidates[:, None], candidates[None, :]).mean(axis=1)
    best = candidates[means.argmin()]
    tied = candidates[(means <= means.min() + 1e-9) & (_errors(candidates, best) < 90.0)]
    around = viewpoint.wrap_deg(tied - best)
    return float(viewpoint.wrap_deg(best + (around.min() + around.max()) / 2))


def _fit_line(raw_deg: np.ndarray, true_deg: np.ndarray) -> tuple[float, float]:
    """Theil-Sen line, or the best constant where that has the smaller mean absolute error.

    The median over the slopes of all pairs keeps its answer with up to 29 % of the pictures wrong.
    """
    true_deg = viewpoint.wrap_deg(true_deg)
    constant = (0.0, float(np.median(true_deg)))
    chosen = _thinned(np.arange(len(raw_deg)))
    first, second = np.triu_indices(len(chosen), k=1)
    run = raw_deg[chosen][second] - raw_deg[chosen][first]
    rise = true_deg[chosen][second] - true_deg[chosen][first]
    apart = np.abs(run) > 1e-6
    if not apart.any():
        return constant
    scale = float(np.median(rise[apart] / run[apart]))
    line = (scale, float(np.median(true_deg - scale * raw_deg)))
    return min(line, constant, key=lambda fit_: _line_error(fit_, raw_deg, true_deg))


def _line_error(line: tuple[float, float], raw_deg: np.ndarray, true_deg: np.ndarray) -> float:
    return float(np.abs(line[0] * raw_deg + line[1] - true_deg).mean())


def _thinned(values: np.ndarray) -> np.ndarray:
    """At most `_MOST_COMPARED` of the values, evenly picked, so that pairs stay affordable."""
    return values[:: -(-len(values) // _MOST_COMPARED)]


def _errors(predicted_deg, true_deg) -> np.ndarray:
    return np.abs(viewpoint.wrap_deg(predicted_deg - true_deg))


def _checked(raw_deg: np.ndarray, true_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    raw_deg, true_deg = np.asarray(raw_deg, np.float64), np.asarray(true_deg, np.float64)
    if raw_deg.shape != true_deg.shape or raw_deg.ndim != 2 or raw_deg.shape[1] != 3:
        raise ValueError(f"need two arrays [pictures, 3], got {raw_deg.shape}, {true_deg.shape}")
    if len(raw_deg) < _FEWEST:
        raise UserError(
            f"{len(raw_deg)} labelled pictures are too few to calibrate on; "
            f"need {_FEWEST}, better 100"
        )
    for what, values in (("prediction", raw_deg), ("label", true_deg)):
        wrong = int((~np.isfinite(values)).any(axis=1).sum())
        if wrong:
            raise UserError(f"cannot calibrate: {wrong} of {len(values)} {what}s are no numbers")
    return raw_deg, true_deg


def _kind(value) -> str:
    if value not in (CIRCULAR, LINEAR):
        raise ValueError(f'kind {value!r} is neither "{CIRCULAR}" nor "{LINEAR}"')
    return value


def _number(value) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _optional(value) -> float | None:
    return None if value is None else _number(value)


def _triple(values) -> tuple:
    first, second, third = values
    return first, second, third
