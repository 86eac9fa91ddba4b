"""Calibrates a run's predictions on labelled pictures, scores them on others, and says how well."""

import dataclasses
import json
import warnings
from typing import Any

import numpy as np

from ssv_tf import config, viewpoint
from ssv_tf.base.errors import UserError, ViewpointWarning
from ssv_tf.data.collection import PictureSet
from ssv_tf.evaluation import (
    calibration,
    confidence,
    ends,
    labelled,
    metrics,
    overlap,
    protocols,
)
from ssv_tf.evaluation.calibration import Calibration
from ssv_tf.models import inference


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A score and what it was worked out from.

    Attributes:
      result: goes to JSON; `metrics.score` and how it was made.
      test: the scored pictures.
      predicted_deg: [pictures, 3], calibrated.
      confidence: [pictures], that the azimuth is right; None where the calibration has none.
    """

    result: dict[str, Any]
    test: PictureSet
    predicted_deg: np.ndarray
    confidence: np.ndarray | None = None


def evaluate(
    predict: labelled.Predict,
    split: labelled.Split,
    *,
    stored: Calibration | None = None,
    azimuth: str = calibration.CIRCULAR,
    mirror_average: bool = False,
    seed: int = 0,
) -> Outcome:
    """Calibrates and scores.

    Args:
      predict: uint8 pictures -> what V says of them.
      split: the pictures.
      stored: the calibration to use where the split has no pictures to fit one on.
      azimuth: one of calibration.KINDS, the kind of fit.
      mirror_average: see `with_mirrored`.
      seed: of the bootstrap.

    Raises:
      UserError: too few pictures to calibrate on.
    """
    fitted = stored or _fit(predict, split.calibration, azimuth)
    raw = predict(split.test.images)
    tolerance_deg = split.test.label_tolerance_deg
    views = inference.decode(raw, fitted)
    predicted, confidences = views.degrees, views.confidence
    if mirror_average:
        predicted = with_mirrored(predict, split.test.images, fitted, predicted)
    true = labelled.angles_deg(split.test)
    result = {
        "convention": calibration.CONVENTION,
        "calibrated_on": fitted.pictures,
        "uncalibrated": list(fitted.uncalibrated),
        "calibration": json.loads(fitted.to_json()),
        "baseline_fitted_on": split.known_from,
        "mirror_average": mirror_average,
    } | metrics.score(
        predicted,
        true,
        split.known_deg,
        skipped=len(split.test.skipped),
        frontness=calibration.frontness(raw, fitted),
        seed=seed,
        tolerance_deg=tolerance_deg,
    )
    has_azimuth = viewpoint.known(true[:, 0])
    if confidences is not None and fitted.confidence is not None and has_azimuth.any():
        errors = metrics.error_deg(predicted[:, 0], true[:, 0], tolerance_deg)[has_azimuth]
        even = ends.even_weights(true[has_azimuth, 0])
        confidence_score = confidence.score(
            confidences[has_azimuth], errors, fitted.confidence.within_deg, even
        )
        result["confidence"] = confidence_score | {"even_ends": fitted.confidence.even_ends}
        if tolerance_deg:
            result["confidence"]["label_tolerance_deg"] = tolerance_deg
    if views.novelty is not None:
        result["novelty"] = {"above_1": float(np.mean(views.novelty > 1.0))}
    result["overlap"] = {"training": split.seen_in_training} | _overlap(fitted, split)
    for name in ("fitted_on", "novelty"):  # they stay with the calibration
        result["calibration"].pop(name, None)
    result["doubts"] = doubts(fitted, result) + overlap.doubts(result)
    return Outcome(result, split.test, predicted, confidences)


def _overlap(fitted: Calibration, split: labelled.Split) -> dict[str, int | None]:
    """How many of the scored pictures, or what looks like them, calibrated; None: not known."""
    used = fitted.fitted_on
    if not used:
        return {"calibration": None, "calibration_alike": None}
    hashes = overlap.hashes(split.test.images)
    return {
        "calibration": overlap.count(hashes, used),
        "calibration_alike": overlap.count_alike(hashes, used),
    }


def doubts(fitted: Calibration, result: dict[str, Any]) -> list[str]:
    """What speaks against trusting a score: the calibration's doubts, and its own of the ends.

    The scored pictures are more than the calibrated ones, so their sentence on front and rear
    stands for both.
    """
    front_rear = result["azimuth"].get("front_rear")
    if front_rear is None:
        return list(fitted.doubts)
    others = [doubt for doubt in fitted.doubts if ends.NOT_SEPARATED not in doubt]
    return others + ends.verdict(front_rear)


def score_protocol(
    name: str,
    truth: protocols.Truth,
    predict: labelled.Predict,
    split: labelled.Split,
    *,
    stored: Calibration | None = None,
    azimuth: str = calibration.CIRCULAR,
    mirror_average: bool = False,
) -> dict[str, dict[str, Any]]:
    """The measures of a published test, calibrated on each reading's own truth.

    Args:
      name: of `protocols.PROTOCOLS`.
      truth: of the split's pictures.
      predict, split, stored, azimuth, mirror_average: as `evaluate` takes them.
    """
    raw = None if split.calibration is None else predict(split.calibration.images)

    def predicted(known_deg: np.ndarray | None) -> np.ndarray:
        fitted = stored
        if raw is not None and known_deg is not None:
            fitted = calibration.fit(raw, known_deg, azimuth)
        if fitted is None:
            raise UserError("no calibration: neither pictures to fit one on, nor a stored one")
        return calibrated_deg(predict, split.test.images, fitted, mirror_average)

    return protocols.score(name, truth, split, predicted)


def calibrated_deg(
    predict: labelled.Predict,
    images: np.ndarray,
    fitted: Calibration,
    mirror_average: bool = False,
) -> np.ndarray:
    """Calibrated degrees [pictures, 3] of uint8 images [pictures, R, R, 3]."""
    degrees = inference.decode(predict(images), fitted).degrees
    return with_mirrored(predict, images, fitted, degrees) if mirror_average else degrees


def with_mirrored(
    predict: labelled.Predict, images: np.ndarray, fitted: Calibration, degrees: np.ndarray
) -> np.ndarray:
    """Calibrated degrees [pictures, 3] averaged with those of the mirrored pictures.

    In calibrated angles, mirroring back is exact ((a, e, t) -> (-a, e, -t)) whatever offset V
    chose for itself.
    """
    raw = predict(images[:, :, ::-1])
    mirrored = viewpoint.mirror(inference.decode(raw, fitted).degrees)
    return circular_mean(degrees, mirrored)


def circular_mean(first_deg: np.ndarray, second_deg: np.ndarray) -> np.ndarray:
    """The middle of two angles, the shorter way round; the first where they contradict.

    More than 90 degrees apart, the middle would be an answer that neither of them gave.
    """
    difference_deg = viewpoint.wrap_deg(second_deg - first_deg)
    return viewpoint.wrap_deg(
        first_deg + np.where(np.abs(difference_deg) <= 90.0, difference_deg / 2, 0.0)
    )


def table(result: dict[str, Any]) -> str:
    """The score as aligned lines: each angle beside the best constant and a random guess."""
    lines = [result["training"]] if result.get("training") == config.SUPERVISED else []
    lines += [
        f"{result['pictures']} pictures scored, {result['skipped']} skipped, "
        f"calibrated on {result['calibrated_on']}{_unscored(result)}",
        f"{'degrees':<18}{'median':>8}{'95 %':>16}{'mean':>8}{'<=10':>7}{'<=15':>7}{'<=30':>7}",
    ]
    for name in metrics.scored(result):
        scores = result[name]
        interval = "{:.1f} to {:.1f}".format(*scores["interval_95"]["median_error_deg"])
        note = ", V's own" if name in result.get("uncalibrated", ()) else ""
        lines.append(_line(name + note, scores, interval))
        constant = scores["baseline"]
        lines.append(_line(f"  constant ({constant['constant_deg']:.0f})", constant))
        lines.append(_line("  random guess", scores["random_guess"]))
        if "commoner_end" in scores:
            commoner = scores["commoner_end"]
            lines.append(_line(f"  always {commoner['end']}", commoner))
    lines += [f"azimuth: {sentence}" for sentence in metrics.tolerance_sentence(result)]
    if "front_rear" in result["azimuth"]:
        lines.append(ends.line(result["azimuth"]["front_rear"]))
    if "large_errors" in result["azimuth"]:
        lines.append(_large_errors_line(result["azimuth"]["large_errors"]))
    if "confidence" in result:
        lines.append(_confidence_line(result["confidence"]))
    if "novelty" in result:
        share = result["novelty"]["above_1"]
        lines.append(
            f"novelty: {100 * share:.1f} % of the pictures are above 1: they look like others"
        )
    lines += [f"doubt: {doubt}" for doubt in result.get("doubts", [])]
    published = {k: v for k, v in result.get("protocol", {}).items() if k != "name"}
    return "\n".join([*lines, *protocols.lines(published)])


def _unscored(result: dict[str, Any]) -> str:
    """Which angles no picture knows, in words."""
    unknown = [name for name in viewpoint.ANGLES if name not in metrics.scored(result)]
    return f"; no labels of {', '.join(unknown)}" if unknown else ""


def _line(label: str, numbers: dict[str, Any], interval: str = "") -> str:
    shares = "".join(f"{numbers[f'within_{t}']:>7.2f}" for t in metrics.TOLERANCES_DEG)
    degrees = f"{numbers['median_error_deg']:>8.1f}{interval:>16}{numbers['mean_error_deg']:>8.1f}"
    return f"{label:<18}{degrees}{shares}"


def _large_errors_line(large: dict[str, Any]) -> str:
    return (
        f"{large['pictures']} azimuths more than 30 off: {100 * large['half_circle']:.0f} % half a "
        f"circle, {100 * large['mirrored_front_back']:.0f} % mirrored front-back, "
        f"{100 * large['mirrored_left_right']:.0f} % mirrored left-right, "
        f"{100 * large['other']:.0f} % other"
    )


def _confidence_line(scored: dict[str, Any]) -> str:
    half, whole = scored["risk_coverage"][4], scored["risk_coverage"][-1]
    return (
        f"confidence: the more confident half is within {scored['within_deg']:.0f}"
        f"{confidence.beyond(scored)} in {half['right']:.2f} of cases "
        f"(all: {whole['right']:.2f}), median "
        f"{half['median_error_deg']:.1f}; expected calibration error "
        f"{scored['expected_calibration_error']:.3f}{confidence.of_even(scored)}"
    )


def _fit(predict: labelled.Predict, pictures: PictureSet | None, azimuth: str) -> Calibration:
    if pictures is None:
        raise UserError("no calibration: neither pictures to fit one on, nor a stored one")
    true_deg = labelled.angles_deg(pictures)
    tolerance_deg = pictures.label_tolerance_deg
    fitted = calibration.fit(predict(pictures.images), true_deg, azimuth, tolerance_deg)
    fitted = dataclasses.replace(fitted, fitted_on=overlap.hashes(pictures.images))
    for doubt in fitted.doubts:
        warnings.warn(doubt, ViewpointWarning, stacklevel=3)
    return fitted
