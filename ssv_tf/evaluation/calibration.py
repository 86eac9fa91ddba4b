"""From V's own angles to degrees of the convention, fitted on about a hundred labelled pictures.

Self-supervision leaves V's angles free up to what no picture can tell it: which end is the front,
which way round the circle counts up, how a step in the image scales. The paper settles that with
a straight line per angle on 100 labelled pictures (SSV section 4). A line cannot close a full
circle, so there the azimuth gets a sign and an offset instead. A V that learnt to answer mirrored
pictures with mirrored azimuths leaves one question only: whether its 0 is the front or the rear.

How far V's circle and the true one agree between those ends depends on the proportions of the
object that S made up: where it is too short, a car a little from head-on looks turned too far. A
monotone curve from the mirror plane (0) to side-on (90) straightens that (the distribution function
of Kumaraswamy 1980), where the labelled pictures ask for it plainly.

Every fit shrugs off a fifth of half-circle (front-rear) mistakes, which V makes until late.

An angle that (nearly) nobody labelled keeps V's own answer, not a constant: V was trained with
viewpoints of a known range in degrees, so that its elevation and tilt order the pictures and are
about right where it learnt them, and only how the azimuth counts is free. It is not measured on
anything, and every place that shows it says so.

Labels may be classes, such as eight sides: then an azimuth within the tolerance of its label, half
the width of a class, has no error, and only what is beyond counts. The offset is the middle of the
stretch with the least error beyond, which uses what a class tells: where it begins and ends.

V also learnt how often each quadrant of azimuth occurs from S's pictures, not from the collection.
Where the prediction brings the quadrant's logits, they are corrected for that label shift by a
temperature and a bias for each class, the most likely ones on the labelled pictures (Alexandari et
al. 2020, bias-corrected temperature scaling).

The same pictures also say what pictures of the collection look like (`evaluation.novelty`).
"""

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssv_tf import config, viewpoint
from ssv_tf.base import files
from ssv_tf.base.array_ops import ops
from ssv_tf.base.errors import UserError
from ssv_tf.evaluation import confidence as confidences
from ssv_tf.evaluation import ends
from ssv_tf.evaluation import novelty as novelties
from ssv_tf.models import decoding
from ssv_tf.models.decoding import NO_BIAS, NO_WARP, Parameters, RawPrediction

CONVENTION = (
    "degrees; azimuth 0 = front faces the camera, grows as the nose turns to image left; "
    "elevation > 0 = camera above; tilt > 0 = object turned clockwise in the image"
)
SYMMETRIC, CIRCULAR, LINEAR = "symmetric", "circular", "linear"
KINDS = (SYMMETRIC, CIRCULAR, LINEAR)
FILE_NAME = "calibration.json"

_VERSION = 1
FEWEST = 5  # below this a fit is a guess
_WIDE_DEG = 30.0  # V's azimuths go this far from their middle: more than radians can say
_STEEP = 2.5  # a slope of azimuth beyond this, or below its inverse, is doubted
_FEW = 30  # below this the offset is uncertain by several degrees
_MOST_COMPARED = 1000  # every pair of so many pictures is compared; more are thinned out
_FOLDS = 10  # of the cross-validation that chooses a line
# Beyond this a range of +-azimuth is treated as the full circle.
_LIMITED_AZIMUTH_DEG = 100.0
_WARPS = np.exp(np.linspace(-0.8, 0.8, 33))  # exponents that are tried
_WARP_PENALTY_DEG = 1.0  # for each squared logarithm of an exponent
_WARP_WORTH = 0.9  # of the error without a warp: above it there is none
_SHIFT_PENALTY = 1.0  # half of the squared distance from temperature 1 and bias 0, in nats
_LEAST_TEMPERATURE = 0.05  # logits that say nothing must not make the bias endless
_NEVER = -1e9  # the logit of what cannot be
_NEWTON_STEPS = 50
_PARTINGS = 20  # of the pictures by V's word on the ends, tried as biases
_PARTING_WORTH_DEG = 0.3  # less of the capped error is chance
_BAND = (np.arange(9) - 4) / 4.5  # places in a class, evenly from its one end to the other
_SLOPES = np.exp(np.linspace(-0.8, 0.8, 33))  # of the first guess, tried for labels of classes
_HALF_TURNS, _QUARTER_TURNS = (0.0, 180.0), (0.0, 90.0, 180.0, 270.0)
_FRONT_REAR = np.array(viewpoint.QUADRANT_SIGNS)[:, :1]  # the sign of cos
_FAR_BETTER = 0.8  # of the error with offset 0 or 180: the symmetry was not learnt
_CAP_DEG = 45.0  # a larger error says only that an answer is wrong, not where the circle lies


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What was fitted: the `decoding.Parameters` of a network, and how far to trust them.

    calibrated = scale * raw + offset per angle, azimuth and the rest wrapped to (-180, 180];
    `models.decoding` applies it.

    Attributes:
      scale: per angle; +1 or -1 where the kind is circular or symmetric.
      offset_deg: per angle; 0 or 180 where the kind is symmetric.
      kinds: "symmetric", "circular" or "linear" per angle.
      residual_deg: median absolute error on the fitted pictures, per angle; None if unknown.
      pictures: how many pictures were fitted.
      angle_pictures: how many of them know each angle; None: not written down. An angle with too
        few keeps scale 1 and offset 0.
      quadrant_bias: added to V's logits of azimuth's quadrant before the likeliest is taken.
      azimuth_warp: exponents of `decoding.warped_share`, which comes before scale and offset;
        (1, 1) changes nothing, and only a symmetric azimuth has another.
      confidence: turns a prediction into the probability that its azimuth is right; None where
        too few pictures, or no quadrant logits, were there to fit it on.
      novelty: tells pictures that do not look like the fitted ones; None where the network has
        no `channel_statistics`, or too few pictures were there.
      doubts: what speaks against trusting it, see `doubts`.
      networks: hash of the networks it was fitted to (`run_folder.Run.networks`); empty: not known.
      label_tolerance_deg: of the azimuths it was fitted on; residual and confidence are of errors
        beyond it.
      fitted_on: hashes of the fitted pictures (`overlap.hashes`); none: not known.
    """

    scale: tuple[float, float, float]
    offset_deg: tuple[float, float, float]
    kinds: tuple[str, str, str] = (CIRCULAR, LINEAR, LINEAR)
    residual_deg: tuple[float | None, float | None, float | None] = (None, None, None)
    pictures: int = 0
    quadrant_bias: tuple[float, float, float, float] = NO_BIAS
    azimuth_warp: tuple[float, float] = NO_WARP
    confidence: confidences.Confidence | None = None
    angle_pictures: tuple[int, int, int] | None = None
    doubts: tuple[str, ...] = ()
    networks: str = ""
    label_tolerance_deg: float = 0.0
    fitted_on: tuple[str, ...] = ()
    novelty: novelties.Novelty | None = None

    @classmethod
    def identity(cls) -> "Calibration":
        """Leaves the angles as they are."""
        return cls((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))

    @property
    def uncalibrated(self) -> tuple[str, ...]:
        """Names of the angles that too few pictures knew: their answers are V's own."""
        counts = zip(viewpoint.ANGLES, self.angle_pictures or (), strict=False)
        return tuple(name for name, count in counts if count < FEWEST)

    @property
    def calibrated_angles(self) -> np.ndarray:
        """Booleans [3]: which angles are calibrated."""
        return np.array([name not in self.uncalibrated for name in viewpoint.ANGLES])

    def to_json(self) -> str:
        """The calibration as JSON text."""
        angles: dict[str, dict[str, Any]] = {
            name: {
                "kind": self.kinds[i],
                "scale": self.scale[i],
                "offset_deg": self.offset_deg[i],
                "residual_deg": self.residual_deg[i],
            }
            for i, name in enumerate(viewpoint.ANGLES)
        }
        if self.angle_pictures is not None:
            for name, count in zip(viewpoint.ANGLES, self.angle_pictures, strict=True):
                angles[name]["pictures"] = count
        azimuth_only = {"quadrant_bias": self.quadrant_bias, "warp": self.azimuth_warp}
        angles[viewpoint.ANGLES[0]] |= azimuth_only
        head = {"version": _VERSION, "convention": CONVENTION}
        tail: dict[str, Any] = {"pictures": self.pictures}
        if self.label_tolerance_deg:
            tail["label_tolerance_deg"] = self.label_tolerance_deg
        if self.confidence is not None:
            tail["confidence"] = self.confidence.to_dict()
        if self.doubts:
            tail["doubts"] = list(self.doubts)
        if self.networks:
            tail["networks"] = self.networks
        if self.fitted_on:
            tail["fitted_on"] = list(self.fitted_on)
        text = json.dumps(head | angles | tail, indent=2)
        if self.novelty is not None:  # thousands of numbers, which would be a line each
            text = f'{text[:-2]},\n  "novelty": {json.dumps(self.novelty.to_dict())}\n}}'
        return text + "\n"

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
                quadrant_bias=_quadruple(entries[0].get("quadrant_bias", NO_BIAS)),
                azimuth_warp=_exponents(entries[0].get("warp", NO_WARP)),
                confidence=confidences.from_dict(data.get("confidence")),
                angle_pictures=_counts(entry.get("pictures") for entry in entries),
                doubts=tuple(map(str, data.get("doubts", ()))),
                networks=str(data.get("networks", "")),
                label_tolerance_deg=_number(data.get("label_tolerance_deg", 0.0)),
                fitted_on=tuple(map(str, data.get("fitted_on", ()))),
                novelty=novelties.from_dict(data.get("novelty")),
            )
        except KeyError as error:
            raise UserError(f"{source} is no calibration: it has no {error}") from error
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
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


@dataclasses.dataclass(frozen=True)
class RawAngles:
    """A network's own angles of pictures, and what it said of their azimuths.

    Attributes:
      degrees: [pictures, 3], uncalibrated.
      quadrant_logits: [pictures, 4], of azimuth; None where only the angles are known.
      confidence_logit: [pictures], a student's log odds that its azimuth is right, or None.
      channel_statistics: [pictures, k], what the pictures look like, or None.
    """

    degrees: np.ndarray
    quadrant_logits: np.ndarray | None = None
    confidence_logit: np.ndarray | None = None
    channel_statistics: np.ndarray | None = None

    @classmethod
    def of(cls, raw: "RawPrediction | RawAngles") -> "RawAngles":
        """In float64; what is decoded already stays so."""
        if isinstance(raw, RawPrediction):
            head = raw.confidence_logit
            views = decoding.decode(raw)
            raw_angles = cls(
                ops.convert_to_numpy(views.degrees),
                raw.quadrant_logits[:, 0],
                None if head is None else head[:, 0],
                raw.channel_statistics,
            )
        else:
            raw_angles = raw
        return raw_angles._each(lambda part: np.asarray(part, np.float64))

    def _each(self, change: Callable[[Any], np.ndarray]) -> "RawAngles":
        """With every part that is known changed."""
        parts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return RawAngles(**{k: None if v is None else change(v) for k, v in parts.items()})  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.degrees)

    def __getitem__(self, index: Any) -> "RawAngles":
        """Some of the pictures: a slice, indices or booleans."""
        return self._each(lambda part: part[index])

    def with_azimuth(self, azimuth_deg: np.ndarray) -> "RawAngles":
        """The same pictures with other azimuths [pictures]."""
        degrees = np.concatenate([azimuth_deg[:, None], self.degrees[:, 1:]], axis=1)
        return dataclasses.replace(self, degrees=degrees)

    def decided(self, bias: Sequence[float]) -> np.ndarray:
        """Degrees [pictures, 3] with azimuth in the likeliest quadrant under a bias.

        Raises:
          ValueError: a bias, and no logits to add it to.
        """
        if tuple(bias) == NO_BIAS:
            return self.degrees
        if self.quadrant_logits is None:
            raise ValueError("a quadrant bias needs the quadrant logits of the azimuths")
        quadrant = np.argmax(self.quadrant_logits + np.asarray(bias), axis=-1)
        azimuth = viewpoint.in_quadrant_deg(self.degrees[:, 0], quadrant)
        return self.with_azimuth(azimuth).degrees


def calibrated(raw_angles: RawAngles, parameters: Parameters) -> np.ndarray:
    """Calibrated degrees [pictures, 3] of angles that are decoded already, as a fit tries them."""
    decided_rad = np.radians(raw_angles.decided(parameters.quadrant_bias))
    degrees = ops.convert_to_numpy(decoding.calibrated_deg(decided_rad, parameters))
    return np.asarray(degrees, np.float64)


def frontness(raw: RawPrediction | RawAngles, fitted: Calibration) -> np.ndarray | None:
    """Log odds of a front [pictures] that a prediction holds.

    A quadrant counts as front where the calibration takes its azimuth to less than 90 degrees. None
    without quadrant logits, and of a limited range, whose quadrants are not those of the azimuth.
    """
    raw_angles = RawAngles.of(raw)
    if raw_angles.quadrant_logits is None or fitted.kinds[0] == LINEAR:
        return None
    logits = raw_angles.quadrant_logits + np.asarray(fitted.quadrant_bias)
    unbiased = dataclasses.replace(fitted, quadrant_bias=NO_BIAS)
    candidates_deg = viewpoint.in_quadrant_deg(raw_angles.degrees[:, :1], np.arange(4)).T
    azimuths = [
        calibrated(raw_angles.with_azimuth(candidate_deg), unbiased)[:, 0]
        for candidate_deg in candidates_deg
    ]
    front = np.abs(np.stack(azimuths, axis=1)) < 90.0
    sides = [np.where(side, logits, _NEVER) for side in (front, ~front)]
    return np.subtract(*(np.logaddexp.reduce(side, axis=-1) for side in sides))


def warped(azimuth_deg: np.ndarray, exponents: tuple[float, float]) -> np.ndarray:
    """Azimuths as the warp of `models.decoding` alone moves them; 0, +-90 and 180 stay."""
    alone = dataclasses.replace(Calibration.identity(), azimuth_warp=exponents)
    angles = np.zeros((*np.shape(azimuth_deg), 3))
    angles[..., 0] = np.radians(viewpoint.wrap_deg(azimuth_deg))
    degrees = ops.convert_to_numpy(decoding.calibrated_deg(angles, alone))
    return np.asarray(degrees, np.float64)[..., 0]


def _from_mirror_plane(azimuth_deg):
    """Degrees from the nearer of 0 and 180, at most 90."""
    return 90.0 - np.abs(np.abs(viewpoint.wrap_deg(azimuth_deg)) - 90.0)


def fit(
    raw: RawPrediction | RawAngles,
    true_deg: np.ndarray,
    azimuth: str = CIRCULAR,
    tolerance_deg: float = 0.0,
    label_shift: bool = True,
) -> Calibration:
    """Fits a calibration on labelled pictures.

    Args:
      raw: V's predictions. Azimuth's quadrant logits, where they are known, are corrected too
        unless the azimuth is "linear"; from 30 pictures on, they also give a `confidence`, and
        channel statistics a `novelty`.
      true_deg: [pictures, 3], labels; any multiple of 360 may be added. NaN is an angle that is
        not known; one that fewer than 5 pictures know stays as V gives it.
      azimuth: "circular" (sign and offset), "symmetric" (sign, and offset 0 or 180; where any
        offset fits far better, "circular") or "linear" (the paper's line, limited range).
      tolerance_deg: an azimuth this close to its label has no error; half the width of a class.
      label_shift: whether the quadrant logits are corrected; without, there is no confidence.

    Returns:
      The calibration. Its `doubts` tell how far to trust it.

    Raises:
      UserError: no angle with 5 labels, or a prediction or label that is no number.
    """
    raw_angles, true_deg = _checked(raw, true_deg)
    if not label_shift:
        raw_angles = dataclasses.replace(raw_angles, quadrant_logits=None)
    fitted = _chosen(raw_angles, true_deg, _kind(azimuth), tolerance_deg)
    fitted = _with_confidence(fitted, raw_angles, true_deg)
    fitted = dataclasses.replace(fitted, novelty=novelties.fit(raw_angles.channel_statistics))
    return dataclasses.replace(fitted, doubts=tuple(doubts(fitted, raw_angles, true_deg)))


def _chosen(
    raw: RawAngles, true_deg: np.ndarray, azimuth: str, tolerance_deg: float
) -> Calibration:
    """The fit of this kind, but the circular one where the symmetric one is far worse."""
    known = viewpoint.known(true_deg[:, 0])
    if azimuth != SYMMETRIC or known.sum() < FEWEST:
        return _fitted(raw, true_deg, azimuth, tolerance_deg)
    kinds = CIRCULAR, SYMMETRIC
    free, symmetric = (_fitted(raw, true_deg, kind, tolerance_deg) for kind in kinds)
    free_error, error = (
        _capped_error(calibrated(raw[known], c)[:, 0], true_deg[known, 0], tolerance_deg)
        for c in (free, symmetric)
    )
    return free if free_error < _FAR_BETTER * error else symmetric


def _with_confidence(fitted: Calibration, raw: RawAngles, true_deg: np.ndarray) -> Calibration:
    known = viewpoint.known(true_deg[:, 0])
    if raw.quadrant_logits is None or known.sum() < _FEW:
        return fitted
    raw, azimuth_deg = raw[known], true_deg[known, 0]
    predicted_deg = calibrated(raw, fitted)[:, 0]
    errors = _errors(predicted_deg, azimuth_deg, fitted.label_tolerance_deg)
    within = confidences.within_deg(fitted.kinds[0] == LINEAR)
    even = ends.even_weights(azimuth_deg)
    logits = raw.quadrant_logits + np.asarray(fitted.quadrant_bias)
    margin = np.asarray(ops.convert_to_numpy(decoding.quadrant_margin(logits)), np.float64)
    confidence = confidences.fit(margin, raw.confidence_logit, errors, within, even)
    return dataclasses.replace(fitted, confidence=confidence)


def _fitted(
    raw: RawAngles, true_deg: np.ndarray, azimuth: str, tolerance_deg: float
) -> Calibration:
    known = viewpoint.known(true_deg)
    counts = _triple(int(count) for count in known.sum(axis=0))
    bias, warp, fits = NO_BIAS, NO_WARP, [(1.0, 0.0)] * 3
    if counts[0] >= FEWEST:
        rows = known[:, 0]
        fits[0], bias, warp = _fit_azimuth(raw[rows], true_deg[rows], azimuth, tolerance_deg)
    for i in (1, 2):
        if counts[i] >= FEWEST:
            rows = known[:, i]
            fits[i] = _fit_faint_line(raw.degrees[rows, i], true_deg[rows, i])
    scale, offset_deg = (
        _triple(float(value) for value in column) for column in zip(*fits, strict=True)
    )
    kinds = (azimuth, LINEAR, LINEAR)
    calibration = Calibration(
        scale, offset_deg, kinds, (None,) * 3, len(raw), bias, warp, angle_pictures=counts,
        label_tolerance_deg=float(tolerance_deg),
    )  # fmt: skip
    errors = _errors(calibrated(raw, calibration), true_deg, _of_angles(tolerance_deg))
    residual = _triple(
        float(np.median(errors[rows, i])) if counts[i] >= FEWEST else None
        for i, rows in enumerate(known.T)
    )
    return dataclasses.replace(calibration, residual_deg=residual)


def _of_angles(tolerance_deg: float) -> np.ndarray:
    """The tolerance of each angle: only azimuths are classes."""
    return np.array([tolerance_deg, 0.0, 0.0])


def _fit_azimuth(
    raw: RawAngles, true_deg: np.ndarray, azimuth: str, tolerance_deg: float
) -> tuple[tuple[float, float], tuple, tuple[float, float]]:
    """((sign or slope, offset), quadrant bias, warp) of pictures that all know their azimuth."""
    bias, warp, straight = NO_BIAS, NO_WARP, raw
    if azimuth == SYMMETRIC:  # first, as it asks for no sign and no quadrant, but they for it
        warp = _fit_warp(raw.degrees[:, 0], true_deg[:, 0], tolerance_deg)
        straight = raw.with_azimuth(warped(raw.degrees[:, 0], warp))
    if raw.quadrant_logits is not None and azimuth != LINEAR:
        bias = _fit_quadrants(straight, true_deg[:, 0], azimuth, tolerance_deg)
    decided_deg = straight.decided(bias)[:, 0]
    return _FITS[azimuth](decided_deg, true_deg[:, 0], tolerance_deg), bias, warp


def azimuth_kind(options: config.Options) -> str:
    """The kind of fit for a run of these config.Options.

    A line for a range of up to +-100 degrees (faces); else symmetric where V learnt from mirrored
    pictures to mirror its answer.
    """
    if options.viewpoints.azimuth_range_deg <= _LIMITED_AZIMUTH_DEG:
        return LINEAR
    return SYMMETRIC if options.pictures.mirror_data else CIRCULAR


def doubts(
    calibration: Calibration, raw: RawPrediction | RawAngles, true_deg: np.ndarray
) -> list[str]:
    """What speaks against trusting a fit, one sentence each; empty when nothing does.

    Args:
      calibration: what `fit` returned for the same pictures.
      raw, true_deg: as `fit` takes them.
    """
    raw_angles, true_deg = _checked(raw, true_deg)
    known, predicted_deg = viewpoint.known(true_deg), calibrated(raw_angles, calibration)
    counts = known.sum(axis=0)
    sentences = []
    fewest = counts[0] if counts[0] >= FEWEST else len(raw_angles)
    if fewest < _FEW:
        sentences.append(f"only {fewest} pictures: about 100 settle the offset")
    if counts[0] >= FEWEST:
        rows = known[:, 0]
        raw_deg = raw_angles[rows].decided(calibration.quadrant_bias)
        sentences += _sign_doubt(calibration, raw_deg, true_deg[rows])
        sentences += _convention_doubts(calibration, raw_deg[:, 0], true_deg[rows, 0])
        sentences += ends.doubts(predicted_deg[rows, 0], true_deg[rows, 0])
    for i, name in enumerate(viewpoint.ANGLES):
        if counts[i] < FEWEST:
            sentences.append(
                f"{name}: not calibrated, as {counts[i]} pictures know it; V's own answer"
            )
            continue
        true = true_deg[known[:, i], i]
        tolerance_deg = _of_angles(calibration.label_tolerance_deg)[i]
        constant = _least_offset(viewpoint.wrap_deg(true), tolerance_deg=tolerance_deg)
        error = _errors(predicted_deg[known[:, i], i], true, tolerance_deg).mean()
        if error >= _errors(constant, true, tolerance_deg).mean() - 1e-9:
            sentences.append(f"{name}: no better than one constant answer; it has not been learnt")
    return sentences


def _convention_doubts(
    calibration: Calibration, raw_deg: np.ndarray, true_deg: np.ndarray
) -> list[str]:
    """Sentences where azimuths [pictures] look like labels of another unit or another sign.

    Neither is certain, so it is a doubt: V may have learnt to turn the wrong way round.
    """
    if len(true_deg) < _FEW:
        return []
    sentences = []
    centre = _least_offset(raw_deg)
    spread = np.percentile(np.abs(viewpoint.wrap_deg(raw_deg - centre)), 90)
    largest = np.abs(true_deg).max()
    slope = abs(calibration.scale[0])
    if largest <= 2 * np.pi and spread > _WIDE_DEG:
        sentences.append(
            f"azimuth: no label is beyond {largest:.2f}, while V's own angles spread over "
            f"{spread:.0f} degrees to either side; are the labels radians? Then say "
            "`convention=radians`"
        )
    elif calibration.kinds[0] == LINEAR and not 1 / _STEEP < slope < _STEEP:
        sentences.append(
            f"azimuth: a degree of V's is {slope:.2g} of the labels; another unit, or V did not "
            "learn it"
        )
    if calibration.scale[0] < 0:
        sentences.append(
            "azimuth: V's own angle falls where the labels grow; either V learnt to turn the wrong "
            "way round, or the labels grow as the nose turns to image right (the convention: left; "
            "`convention=nose_right` turns them)"
        )
    return sentences


def _sign_doubt(calibration: Calibration, raw_deg: np.ndarray, true_deg: np.ndarray) -> list[str]:
    """Doubts the sign where the mirrored circle fits about as well."""
    if calibration.kinds[0] == LINEAR:
        return []
    here, mirrored = (
        _circle_error(sign, raw_deg[:, 0], true_deg[:, 0], calibration.label_tolerance_deg)[0]
        for sign in (calibration.scale[0], -calibration.scale[0])
    )
    if here < 0.9 * mirrored:
        return []
    return [f"azimuth: the mirrored circle fits about as well ({here:.1f} and {mirrored:.1f} deg)"]


def _fit_quadrants(raw: RawAngles, true_deg: np.ndarray, kind: str, tolerance_deg: float) -> tuple:
    """The quadrant bias of least capped error, from every sign and quarter turn to start with.

    Without the bias the sign and the offset may be fitted wrong, and with them the bias. Where V
    calls nearly all of an even collection one end, the likeliest shift leaves that so, although V's
    logits order the ends: biases that call a twentieth, two twentieths and so on of the pictures
    the other end are tried too, and have to be plainly better.
    """
    symmetric = kind == SYMMETRIC
    logits, candidates = np.asarray(raw.quadrant_logits), [NO_BIAS]
    for sign in (1.0, -1.0):
        near = 0.0
        if not symmetric:
            near = _circle_error(sign, raw.degrees[:, 0], true_deg, tolerance_deg)[1]
        for turn in _HALF_TURNS if symmetric else _QUARTER_TURNS:
            shares = _quadrant_shares(sign, true_deg - near - turn, tolerance_deg)
            candidates.append(_shift_bias(logits, shares, symmetric))

    def error(bias):
        decided = raw.decided(bias)[:, 0]
        sign, offset = _FITS[kind](decided, true_deg, tolerance_deg)
        return _capped_error(sign * decided + offset, true_deg, tolerance_deg)

    likeliest = min(candidates, key=error)
    parted = min(_parting_biases(logits), key=error)
    return parted if error(parted) < error(likeliest) - _PARTING_WORTH_DEG else likeliest


def _parting_biases(logits: np.ndarray) -> list[tuple]:
    """Biases between the sides of cos that put a given share of logits [pictures, 4] on each."""
    signs = _FRONT_REAR[:, 0]
    margin = logits[:, signs > 0].max(axis=1) - logits[:, signs < 0].max(axis=1)
    shares = (np.arange(_PARTINGS) + 0.5) / _PARTINGS
    return [tuple(-float(m) / 2 * signs) for m in np.quantile(margin, shares)]


def _quadrant_shares(sign: float, true_deg: np.ndarray, tolerance_deg: float) -> np.ndarray:
    """How much of each label [pictures] lies in each quadrant: [pictures, 4], 0 or 1 of a degree.

    The class left, from 45 to 135 degrees, is half a front and half a rear.
    """
    band = tolerance_deg * _BAND if tolerance_deg else np.zeros(1)
    quadrants = viewpoint.quadrant_of_deg(sign * (true_deg[:, None] + band))
    return np.eye(4)[quadrants].mean(axis=1)


def _shift_bias(logits: np.ndarray, shares: np.ndarray, symmetric: bool) -> tuple:
    """Bias over temperature of the likeliest bias-corrected temperature scaling, by Newton.

    Args:
      logits: [pictures, 4].
      shares: [pictures, 4], of the true classes.
      symmetric: left and right occur equally often, so that one bias parts the sides of cos.
    """
    basis = _FRONT_REAR if symmetric else np.eye(4)  # [4, biases]
    centred = logits - logits.mean(axis=1, keepdims=True)
    slope = np.concatenate(
        [centred[:, :, None], np.broadcast_to(basis, (len(logits), *basis.shape))], axis=2
    )  # of each class's score in (temperature, bias)
    start = np.eye(1 + basis.shape[1])[0]
    values, truth = start.copy(), shares
    for _ in range(_NEWTON_STEPS):
        scores = slope @ values
        share = np.exp(scores - scores.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        gradient = np.einsum("nk,nki->i", share - truth, slope) + _SHIFT_PENALTY * (values - start)
        mean = np.einsum("nk,nki->ni", share, slope)
        curve = np.einsum("nki,nk,nkj->ij", slope, share, slope) - mean.T @ mean
        change = np.linalg.solve(curve + _SHIFT_PENALTY * np.eye(len(start)), gradient)
        values = values - change / max(1.0, float(np.abs(change).max()))
    bias = basis @ values[1:] / max(values[0], _LEAST_TEMPERATURE)
    return tuple(float(value) for value in bias)


def _fit_circle(
    raw_deg: np.ndarray, true_deg: np.ndarray, tolerance_deg: float
) -> tuple[float, float]:
    """Sign and offset of least capped error."""
    fits = [(*_circle_error(sign, raw_deg, true_deg, tolerance_deg), sign) for sign in (1.0, -1.0)]
    _, offset, sign = min(fits, key=lambda entry: entry[0])
    return sign, offset


def _fit_symmetric(
    raw_deg: np.ndarray, true_deg: np.ndarray, tolerance_deg: float
) -> tuple[float, float]:
    """Sign, and offset 0 or 180, of least capped error."""
    choices = [(sign, offset) for sign in (1.0, -1.0) for offset in _HALF_TURNS]
    return min(choices, key=lambda c: _capped_error(c[0] * raw_deg + c[1], true_deg, tolerance_deg))


def _capped_error(
    predicted_deg: np.ndarray | float, true_deg: np.ndarray, tolerance_deg: float
) -> float:
    """Mean circular error, none counted as more than `_CAP_DEG`.

    Of a V that takes half of the fronts for rears every choice has a mean error of about 90
    degrees; the errors that are no half circle tell which one is right.
    """
    return float(np.minimum(_errors(predicted_deg, true_deg, tolerance_deg), _CAP_DEG).mean())


def _fit_warp(
    raw_deg: np.ndarray, true_deg: np.ndarray, tolerance_deg: float
) -> tuple[float, float]:
    """Exponents of the warp of least mean error, whatever quadrants V took for others."""
    predicted, target = _from_mirror_plane(raw_deg), _from_mirror_plane(true_deg)

    def error(exponents):
        warped_deg = 90.0 * decoding.warped_share(predicted / 90.0, *exponents)
        return float(_beyond(np.abs(warped_deg - target), tolerance_deg).mean())

    def cost(exponents):
        return error(exponents) + _WARP_PENALTY_DEG * float(np.square(np.log(exponents)).sum())

    best = min(((float(a), float(b)) for a in _WARPS for b in _WARPS), key=cost)
    return best if error(best) < _WARP_WORTH * error(NO_WARP) else NO_WARP


def _circle_error(
    sign: float, raw_deg: np.ndarray, true_deg: np.ndarray, tolerance_deg: float
) -> tuple[float, float]:
    """Capped error of the best offset for this sign, and that offset."""
    rest = viewpoint.wrap_deg(true_deg - sign * raw_deg)
    offset = _least_offset(rest, _CAP_DEG, tolerance_deg)
    return _capped_error(offset, rest, tolerance_deg), offset


def _least_offset(
    angles_deg: np.ndarray, cap_deg: float = 180.0, tolerance_deg: float = 0.0
) -> float:
    """The angle of least mean circular distance to `angles_deg` [pictures], each capped.

    The mean is piecewise linear in the offset with its convex kinks at the angles themselves, or at
    the two ends of each one's tolerance, so the best of them is the exact minimum; where a whole
    stretch ties, its middle is taken.
    """
    angles_deg = candidates = _thinned(angles_deg)
    if tolerance_deg:
        candidates = np.concatenate([angles_deg - tolerance_deg, angles_deg + tolerance_deg])
        candidates = viewpoint.wrap_deg(candidates)
    distances = _errors(candidates[:, None], angles_deg[None, :], tolerance_deg)
    means = np.minimum(distances, cap_deg).mean(axis=1)
    best = candidates[means.argmin()]
    tied = candidates[(means <= means.min() + 1e-9) & (_errors(candidates, best) < 90.0)]
    around = viewpoint.wrap_deg(tied - best)
    middle = float(viewpoint.wrap_deg(best + (around.min() + around.max()) / 2))
    between = np.minimum(_errors(middle, angles_deg, tolerance_deg), cap_deg).mean()
    if tolerance_deg and between > means.min() + 1e-6:  # two stretches, with a hill between them
        return float(best)
    return middle


def _fit_azimuth_line(
    raw_deg: np.ndarray, true_deg: np.ndarray, tolerance_deg: float
) -> tuple[float, float]:
    """`_fit_line`; of classes the line of least capped error beyond the tolerance.

    Pairs within a class have no slope, which makes the first guess flat: steeper ones are tried,
    and of equally good ones the middle is taken.
    """
    guess = _fit_line(raw_deg, true_deg)
    if not tolerance_deg:
        return guess
    true_deg = viewpoint.wrap_deg(true_deg)
    slopes = guess[0] * _SLOPES if guess[0] else np.concatenate([-_SLOPES[::-1], _SLOPES])
    fits = [_circle_error(slope, raw_deg, true_deg, tolerance_deg) for slope in slopes]
    errors = np.array([error for error, _ in fits])
    best = np.flatnonzero(errors <= errors.min() + 1e-9)
    middle = best[len(best) // 2]
    constant = _least_offset(true_deg, _CAP_DEG, tolerance_deg)
    if errors[middle] < _capped_error(constant, true_deg, tolerance_deg) - 1e-9:
        return float(slopes[middle]), fits[middle][1]
    return 0.0, constant


def _fit_line(raw_deg: np.ndarray, true_deg: np.ndarray) -> tuple[float, float]:
    """Theil-Sen line, or the best constant where that has the smaller mean absolute error.

    The median over the slopes of all pairs keeps its answer with up to 29 % of the pictures wrong.
    """
    true_deg = viewpoint.wrap_deg(true_deg)
    subset = _thinned(np.arange(len(raw_deg)))
    first, second = np.triu_indices(len(subset), k=1)
    run = raw_deg[subset][second] - raw_deg[subset][first]
    rise = true_deg[subset][second] - true_deg[subset][first]
    distinct = np.abs(run) > 1e-6
    if not distinct.any():
        return _best_constant(raw_deg, true_deg)
    line = _through_middle(float(np.median(rise[distinct] / run[distinct])), raw_deg, true_deg)
    return _better((line, _best_constant(raw_deg, true_deg)), raw_deg, true_deg)


def _fit_faint_line(raw_deg: np.ndarray, true_deg: np.ndarray) -> tuple[float, float]:
    """A line for elevation and tilt, of which V may know next to nothing.

    There Theil-Sen takes noise for a slope, which least squares with a shrunk slope does not; where
    labels are wrong it is the other way round. Cross-validation chooses between them and the best
    constant, and none is taken that is worse than the constant.
    """
    true_deg = viewpoint.wrap_deg(true_deg)
    folds = np.random.default_rng(0).permutation(len(raw_deg)) % _FOLDS
    ways = _best_constant, _shrunk_line, _fit_line

    def error(way):
        errors = [
            _line_errors(
                way(raw_deg[~held_out], true_deg[~held_out]), raw_deg[held_out], true_deg[held_out]
            )
            for held_out in (folds == fold for fold in range(min(_FOLDS, len(raw_deg))))
        ]
        return np.concatenate(errors).mean()

    line = min(ways, key=error)(raw_deg, true_deg)
    return _better((line, _best_constant(raw_deg, true_deg)), raw_deg, true_deg)


def _best_constant(_raw_deg: np.ndarray, true_deg: np.ndarray) -> tuple[float, float]:
    return 0.0, float(np.median(true_deg))


def _shrunk_line(raw_deg: np.ndarray, true_deg: np.ndarray) -> tuple[float, float]:
    """Least squares, the slope b less var(b) / b, at least 0 (positive-part James-Stein)."""
    raw, true = raw_deg - raw_deg.mean(), true_deg - true_deg.mean()
    spread = float((raw**2).sum())
    if spread < 1e-9 or len(raw) < 3:
        return _best_constant(raw_deg, true_deg)
    slope = float((raw * true).sum()) / spread
    variance = float(((true - slope * raw) ** 2).sum()) / (len(raw) - 2) / spread
    share = max(0.0, 1.0 - variance / max(slope**2, 1e-12))
    return _through_middle(share * slope, raw_deg, true_deg)


def _through_middle(slope: float, raw_deg: np.ndarray, true_deg: np.ndarray) -> tuple[float, float]:
    return slope, float(np.median(true_deg - slope * raw_deg))


def _better(
    lines: Iterable[tuple[float, float]], raw_deg: np.ndarray, true_deg: np.ndarray
) -> tuple[float, float]:
    """The line with the smallest mean absolute error, the first of equals."""
    return min(lines, key=lambda line: _line_errors(line, raw_deg, true_deg).mean())


def _line_errors(
    line: tuple[float, float], raw_deg: np.ndarray, true_deg: np.ndarray
) -> np.ndarray:
    return np.abs(line[0] * raw_deg + line[1] - true_deg)


_FITS = {SYMMETRIC: _fit_symmetric, CIRCULAR: _fit_circle, LINEAR: _fit_azimuth_line}


def _thinned(values: np.ndarray) -> np.ndarray:
    """At most `_MOST_COMPARED` of the values, evenly picked, so that pairs stay affordable."""
    return values[:: -(-len(values) // _MOST_COMPARED)]


def _errors(
    predicted_deg: np.ndarray | float,
    true_deg: np.ndarray,
    tolerance_deg: float | np.ndarray = 0.0,
) -> np.ndarray:
    return _beyond(np.abs(viewpoint.wrap_deg(predicted_deg - true_deg)), tolerance_deg)


def _beyond(errors_deg: np.ndarray, tolerance_deg: float | np.ndarray) -> np.ndarray:
    """What of errors is beyond the tolerance of the labels."""
    return np.maximum(errors_deg - tolerance_deg, 0.0)


def _checked(raw: RawPrediction | RawAngles, true_deg: np.ndarray) -> tuple[RawAngles, np.ndarray]:
    raw_angles, true_deg = RawAngles.of(raw), np.asarray(true_deg, np.float64)
    if raw_angles.degrees.shape[1:] != (3,) or true_deg.shape != raw_angles.degrees.shape:
        raise ValueError(
            f"need [pictures, 3] twice, got {raw_angles.degrees.shape}, {true_deg.shape}"
        )
    broken = ~np.isfinite(raw_angles.degrees).all(axis=1)
    if raw_angles.quadrant_logits is not None:
        broken |= ~np.isfinite(raw_angles.quadrant_logits).all(axis=1)
    if raw_angles.confidence_logit is not None:
        broken |= ~np.isfinite(raw_angles.confidence_logit)
    if raw_angles.channel_statistics is not None:
        broken |= ~np.isfinite(raw_angles.channel_statistics).all(axis=1)
    for what, rows in (("prediction", broken), ("label", np.isinf(true_deg).any(axis=1))):
        if rows.any():
            wrong = f"{int(rows.sum())} of {len(raw_angles)}"
            raise UserError(f"cannot calibrate: {wrong} {what}s are no numbers")
    known = viewpoint.known(true_deg)
    labelled = known.any(axis=1)
    if known.sum(axis=0).max(initial=0) < FEWEST:
        raise UserError(
            f"{labelled.sum()} labelled pictures are too few to calibrate on; need {FEWEST} with "
            "the same angle, better 100"
        )
    return raw_angles[labelled], true_deg[labelled]


def _kind(value: Any) -> str:
    if value not in KINDS:
        raise ValueError(f"kind {value!r} is none of {', '.join(KINDS)}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _optional(value: Any) -> float | None:
    return None if value is None else _number(value)


def _counts(values: Any) -> tuple[int, int, int] | None:
    first, second, third = values
    if first is None or second is None or third is None:
        return None
    return int(first), int(second), int(third)


def _quadruple(values: Any) -> tuple:
    first, second, third, fourth = (_number(value) for value in values)
    return first, second, third, fourth


def _exponents(values: Any) -> tuple[float, float]:
    first, second = (_number(value) for value in values)
    if min(first, second) <= 0:
        raise ValueError(f"warp {values!r} must be above 0")
    return first, second


def _triple(values: Any) -> tuple:
    first, second, third = values
    return first, second, third
