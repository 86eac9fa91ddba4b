"""How far predicted viewpoints are from the truth, and from answers that need no picture.

All in NumPy and degrees. The error of an angle is the shorter way round the circle, 0 to 180. Where
labels are classes, only what is beyond the tolerance of a label, half a class, is error; so for the
baselines, which gain by it too.
`score` gathers everything for one set of test pictures as a dict that goes to JSON as it is.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ssv_tf import viewpoint
from ssv_tf.base.errors import UserError
from ssv_tf.evaluation import ends

TOLERANCES_DEG = (10, 15, 30)
LARGE_DEG = 30.0  # an error beyond this is large
PI_6_DEG = 30.0  # what Pascal3D+ writes as pi / 6
BIN_DEG = 30
QUADRANTS = ("front", "left", "rear", "right")

_GUESSES = 360  # random guesses are spread evenly instead of drawn, so that the number is exact


def error_deg(
    predicted_deg: ArrayLike, true_deg: ArrayLike, tolerance_deg: float = 0.0
) -> np.ndarray:
    """Absolute angle between prediction and truth, the shorter way round: [...] in [0, 180].

    Args:
      predicted_deg, true_deg: angles.
      tolerance_deg: of the labels; this much of an error is none.
    """
    errors = np.abs(viewpoint.wrap_deg(np.asarray(predicted_deg) - np.asarray(true_deg)))
    return np.maximum(errors - tolerance_deg, 0.0) if tolerance_deg else errors


def summary(errors_deg: np.ndarray) -> dict[str, float]:
    """Median, mean and the shares within 10, 15 and 30 degrees of errors [pictures]."""
    within = {f"within_{t}": float((errors_deg <= t).mean()) for t in TOLERANCES_DEG}
    return {
        "median_error_deg": float(np.median(errors_deg)),
        "mean_error_deg": float(errors_deg.mean()),
    } | within


def bootstrap(errors_deg: np.ndarray, seed: int = 0, resamples: int = 1000) -> dict[str, list]:
    """95 % percentile intervals of the median and of the share within 30 degrees.

    Args:
      errors_deg: [pictures].
      seed: of the resampling.
      resamples: how many sets of the same size are drawn with replacement.

    Returns:
      {"median_error_deg": [low, high], "within_30": [low, high]}.
    """
    random = np.random.default_rng(seed)
    medians, shares = np.empty(resamples), np.empty(resamples)
    for i in range(resamples):
        drawn = errors_deg[random.integers(len(errors_deg), size=len(errors_deg))]
        medians[i], shares[i] = np.median(drawn), (drawn <= LARGE_DEG).mean()
    return {
        "median_error_deg": np.quantile(medians, (0.025, 0.975)).tolist(),
        "within_30": np.quantile(shares, (0.025, 0.975)).tolist(),
    }


def azimuth_bins(
    predicted_deg: np.ndarray, true_deg: np.ndarray, tolerance_deg: float = 0.0
) -> list[dict[str, Any]]:
    """Azimuth error by true azimuth, in 12 bins of 30 degrees from -180 up.

    Args:
      predicted_deg, true_deg: azimuths [pictures].
      tolerance_deg: see `error_deg`.

    Returns:
      one dict per bin; a bin holds its lower edge. Medians of empty bins are None.
    """
    errors = error_deg(predicted_deg, true_deg, tolerance_deg)
    # [-180, 180): the bin that starts at -180 holds 180 itself.
    bins = _sector(np.asarray(true_deg) + 180.0, BIN_DEG)
    rows = []
    for i in range(360 // BIN_DEG):
        in_bin = errors[bins == i]
        rows.append(
            {
                "from_deg": i * BIN_DEG - 180,
                "to_deg": (i + 1) * BIN_DEG - 180,
                "pictures": len(in_bin),
                "median_error_deg": float(np.median(in_bin)) if len(in_bin) else None,
                "within_30": float((in_bin <= LARGE_DEG).mean()) if len(in_bin) else None,
            }
        )
    return rows


def quadrant(azimuth_deg: ArrayLike) -> np.ndarray:
    """Which of `QUADRANTS` faces the camera; front is [-45, 45), left [45, 135) and so on.

    "left" is the quadrant around +90, where the nose points to image left.
    """
    return _sector(np.asarray(azimuth_deg) + 45.0, 90)


def _sector(angle_deg: np.ndarray, width_deg: int) -> np.ndarray:
    """Which sector of the circle, counted from 0 up; rounding at 360 falls back to the first."""
    return (np.mod(angle_deg, 360.0) // width_deg).astype(int) % (360 // width_deg)


def confusion(predicted_deg: np.ndarray, true_deg: np.ndarray) -> list[list[int]]:
    """Counts by quadrant of azimuth: 4 rows of true quadrants, 4 columns of predicted ones."""
    counts = np.zeros((4, 4), int)
    np.add.at(counts, (quadrant(true_deg), quadrant(predicted_deg)), 1)
    return counts.tolist()


def nearest_truth(
    predicted_deg: np.ndarray, true_deg: np.ndarray, tolerance_deg: float
) -> np.ndarray:
    """Of the angles a label [pictures] may stand for, the nearest to the prediction."""
    if not tolerance_deg:
        return np.asarray(true_deg)
    away = viewpoint.wrap_deg(np.asarray(predicted_deg) - np.asarray(true_deg))
    return viewpoint.wrap_deg(true_deg + np.clip(away, -tolerance_deg, tolerance_deg))


def large_errors(
    predicted_deg: np.ndarray, true_deg: np.ndarray, tolerance_deg: float = 0.0
) -> dict[str, float | int]:
    """Azimuths more than 30 degrees off: how many, and shares that lie within 30 of a cause.

    The causes overlap where the truth is near an axis (at 0, the half circle is also the mirrored
    front-back), so the shares can add up to more than 1.

    Args:
      predicted_deg, true_deg: azimuths [pictures].
      tolerance_deg: see `error_deg`.

    Returns:
      pictures: how many are large; half_circle: near true + 180; mirrored_front_back: near
      180 - true; mirrored_left_right: near -true; other: near none of these.
    """
    large = error_deg(predicted_deg, true_deg, tolerance_deg) > LARGE_DEG
    predicted, true = np.asarray(predicted_deg)[large], np.asarray(true_deg)[large]
    causes_deg = {
        "half_circle": true + 180.0,
        "mirrored_front_back": 180.0 - true,
        "mirrored_left_right": -true,
    }
    near = {
        name: error_deg(predicted, cause_deg, tolerance_deg) <= LARGE_DEG
        for name, cause_deg in causes_deg.items()
    }
    near["other"] = ~np.logical_or.reduce(list(near.values()))
    count = max(len(predicted), 1)
    return {"pictures": len(predicted)} | {k: float(v.sum() / count) for k, v in near.items()}


def best_constants(true_deg: np.ndarray, tolerance_deg: float = 0.0) -> dict[str, float]:
    """The one answer, to a whole degree, that does best on angles [pictures] by each number.

    Returns:
      a constant for each key of `summary`; of equally good ones, that of least mean error.
    """
    candidates = viewpoint.wrap_deg(np.arange(-179.0, 181.0))
    errors = error_deg(candidates[:, None], np.asarray(true_deg)[None, :], tolerance_deg)
    mean = errors.mean(axis=1)
    worse = {"median_error_deg": np.median(errors, axis=1), "mean_error_deg": mean}
    worse |= {f"within_{t}": -(errors <= t).mean(axis=1) for t in TOLERANCES_DEG}
    return {key: float(candidates[np.lexsort((mean, cost))[0]]) for key, cost in worse.items()}


def constant_baseline(
    true_deg: np.ndarray, known_deg: np.ndarray, tolerance_deg: float = 0.0
) -> dict[str, float]:
    """What one constant answer scores on angles [pictures], at its best.

    Each number has the constant that does best by it on `known_deg` [others], so that none is
    easier to beat than it need be; constant_deg is the one of least median error.
    """
    constants = best_constants(known_deg, tolerance_deg)
    scores = {
        key: summary(error_deg(constant, true_deg, tolerance_deg))[key]
        for key, constant in constants.items()
    }
    return {"constant_deg": constants["median_error_deg"]} | scores


def random_guess(
    true_deg: np.ndarray, low_deg: float, high_deg: float, tolerance_deg: float = 0.0
) -> dict[str, float]:
    """What guessing uniformly between two angles scores on angles [pictures], without luck."""
    step = (high_deg - low_deg) / _GUESSES
    guesses = low_deg + step * (np.arange(_GUESSES) + 0.5)
    errors = error_deg(guesses[:, None], np.asarray(true_deg)[None, :], tolerance_deg)
    return summary(errors.ravel())


def score(
    predicted_deg: np.ndarray,
    true_deg: np.ndarray,
    calibration_true_deg: np.ndarray,
    *,
    skipped: int = 0,
    frontness: np.ndarray | None = None,
    seed: int = 0,
    resamples: int = 1000,
    tolerance_deg: float = 0.0,
) -> dict[str, Any]:
    """Everything about one test set.

    Args:
      predicted_deg: [pictures, 3], calibrated.
      true_deg: [pictures, 3]; NaN is an angle that is not known, and is not scored.
      calibration_true_deg: [others, 3], labels the baselines may know: those calibrated on; of an
        angle that none of them knows, the baselines know the test's own.
      skipped: pictures that could not be used.
      frontness: [pictures], see `ends.score`.
      seed, resamples: of the bootstrap.
      tolerance_deg: of the labels of azimuth: errors are counted beyond it (`error_deg`).

    Returns:
      {"pictures", "skipped", "azimuth": {"pictures", "median_error_deg", "mean_error_deg",
      "within_10", "within_15", "within_30", "interval_95": {...}, "baseline": {"constant_deg",
      ...}, "random_guess": {...}, "bins", "confusion", "large_errors"}, "elevation", "tilt"}; of an
      angle that no picture knows, {"pictures": 0} alone. Where there are fronts and rears,
      "azimuth" also has "front_rear" (`ends.score`) and "commoner_end" {"end", ...}: what the same
      axes score where the end is always the commoner one. With a tolerance, "azimuth" also has
      "label_tolerance_deg" and "within_tolerance" {"share", "constant", "random_guess"}.
    """
    true_deg, known_deg = np.asarray(true_deg), np.asarray(calibration_true_deg)
    known = viewpoint.known(true_deg)
    result: dict[str, Any] = {"pictures": len(true_deg), "skipped": skipped}
    for i, name in enumerate(viewpoint.ANGLES):
        result[name] = {"pictures": int(known[:, i].sum())}
        if not result[name]["pictures"]:
            continue
        true = true_deg[known[:, i], i]
        tolerance = tolerance_deg if name == viewpoint.ANGLES[0] else 0.0
        errors = error_deg(predicted_deg[known[:, i], i], true, tolerance)
        result[name] |= summary(errors) | {"interval_95": bootstrap(errors, seed, resamples)}
        result[name] |= _baselines(name, true, _known_or(known_deg[:, i], true), tolerance)
    has_azimuth = known[:, 0]
    if has_azimuth.any():
        azimuths = predicted_deg[has_azimuth, 0], true_deg[has_azimuth, 0]
        result["azimuth"] |= _of_azimuths(*azimuths, tolerance_deg)
        known_azimuths = _known_or(known_deg[:, 0], azimuths[1])
        if tolerance_deg:
            result["azimuth"]["label_tolerance_deg"] = float(tolerance_deg)
            shares = _within_tolerance(*azimuths, known_azimuths, tolerance_deg)
            result["azimuth"]["within_tolerance"] = shares
        front = None if frontness is None else frontness[has_azimuth]
        front_rear = ends.score(*azimuths, front, seed, resamples)
        if front_rear:
            commoner = _commoner_end(*azimuths, known_azimuths, tolerance_deg)
            result["azimuth"] |= {"front_rear": front_rear, "commoner_end": commoner}
    return result


def tolerance_sentence(result: dict[str, Any]) -> list[str]:
    """What a result of `score` says of labels that are classes, in a sentence; else none."""
    azimuth = result["azimuth"]
    if "within_tolerance" not in azimuth:
        return []
    shares = azimuth["within_tolerance"]
    return [
        f"{shares['share']:.2f} are within the label's tolerance of "
        f"{azimuth['label_tolerance_deg']:g} degrees (best constant {shares['constant']:.2f}, "
        f"random guess {shares['random_guess']:.2f}); errors are counted beyond it"
    ]


def scored(result: dict[str, Any]) -> list[str]:
    """The angles that a result of `score` has numbers of."""
    return [name for name in viewpoint.ANGLES if "median_error_deg" in result[name]]


def periodic(
    predicted_deg: np.ndarray, true_deg: np.ndarray, tolerance_deg: float = 0.0
) -> dict[str, float]:
    """The few numbers to watch while training, of calibrated degrees [pictures, 3] twice.

    Azimuth's errors are counted beyond the tolerance of its labels.

    Returns:
      azimuth_median_deg, azimuth_within_30, front_rear_balanced, elevation_mean_deg and
      tilt_mean_deg; those without labels are left out.
    """
    errors, known = error_deg(predicted_deg, true_deg), viewpoint.known(true_deg)
    values = {}
    if known[:, 0].any():
        azimuth = error_deg(predicted_deg[:, 0], true_deg[:, 0], tolerance_deg)[known[:, 0]]
        values["azimuth_median_deg"] = float(np.median(azimuth))
        values["azimuth_within_30"] = float(np.mean(azimuth <= LARGE_DEG))
        front_rear = ends.score(predicted_deg[:, 0], true_deg[:, 0], resamples=1)
        if front_rear:
            values["front_rear_balanced"] = front_rear["balanced_accuracy"]
    for i, name in enumerate(viewpoint.ANGLES[1:], start=1):
        if known[:, i].any():
            values[f"{name}_mean_deg"] = float(np.mean(errors[known[:, i], i]))
    return values


def _of_azimuths(
    predicted_deg: np.ndarray, true_deg: np.ndarray, tolerance_deg: float
) -> dict[str, Any]:
    nearest_deg = nearest_truth(predicted_deg, true_deg, tolerance_deg)
    return {
        "bins": azimuth_bins(predicted_deg, true_deg, tolerance_deg),
        "quadrants": list(QUADRANTS),
        "confusion": confusion(predicted_deg, nearest_deg),
        "large_errors": large_errors(predicted_deg, true_deg, tolerance_deg),
    }


def _within_tolerance(
    predicted_deg: np.ndarray, true_deg: np.ndarray, known_deg: np.ndarray, tolerance_deg: float
) -> dict[str, float]:
    """Shares of azimuths without an error: predicted, of the constant best on others, guessed."""
    candidates = viewpoint.wrap_deg(np.arange(-179.0, 181.0))
    inside = error_deg(candidates[:, None], known_deg[None, :], tolerance_deg) == 0.0
    constant = candidates[inside.mean(axis=1).argmax()]
    return {
        "share": float((error_deg(predicted_deg, true_deg, tolerance_deg) == 0.0).mean()),
        "constant": float((error_deg(constant, true_deg, tolerance_deg) == 0.0).mean()),
        "random_guess": float(tolerance_deg / 180.0),
    }


def _commoner_end(
    predicted_deg: np.ndarray, true_deg: np.ndarray, known_deg: np.ndarray, tolerance_deg: float
) -> dict[str, Any]:
    end = ends.commoner(known_deg)
    errors = error_deg(ends.folded(predicted_deg, end), true_deg, tolerance_deg)
    return {"end": end} | summary(errors)


def _known_or(known_deg: np.ndarray, others_deg: np.ndarray) -> np.ndarray:
    """The angles that are known, or the others where none is."""
    known = known_deg[viewpoint.known(known_deg)]
    return known if len(known) else others_deg


def _baselines(
    name: str, true_deg: np.ndarray, known_deg: np.ndarray, tolerance_deg: float
) -> dict[str, Any]:
    """Best constant and random guess: azimuths over the circle, the rest over the known range."""
    known_deg = viewpoint.wrap_deg(known_deg)
    low, high = (-180.0, 180.0) if name == "azimuth" else (known_deg.min(), known_deg.max())
    return {
        "baseline": constant_baseline(true_deg, known_deg, tolerance_deg),
        "random_guess": random_guess(true_deg, low, high, tolerance_deg),
    }


def head_pose(
    predicted_deg: np.ndarray, true_deg: np.ndarray, largest_deg: float | None = None
) -> dict[str, float | int]:
    """Mean absolute errors of pitch, yaw and roll, as the tests of head pose publish them.

    Args:
      predicted_deg, true_deg: [pictures, 3], pitch, yaw, roll.
      largest_deg: pictures with a true angle beyond it are left out; 99 for AFLW2000-3D, as since
        Hopenet (Ruiz et al. 2018). None: all count.

    Returns:
      pictures, left_out, mae_yaw_deg, mae_pitch_deg, mae_roll_deg and mae_deg, the mean of the
      three. An error is the shorter way round the circle.

    Raises:
      UserError: no picture is left.
    """
    true_deg = np.asarray(true_deg)
    in_range = np.ones(len(true_deg), bool)
    if largest_deg is not None:
        in_range = (np.abs(true_deg) <= largest_deg).all(axis=1)
    if not in_range.any():
        raise UserError("no picture of the protocol is left to score")
    pitch, yaw, roll = error_deg(np.asarray(predicted_deg)[in_range], true_deg[in_range]).mean(
        axis=0
    )
    return {
        "pictures": int(in_range.sum()),
        "left_out": int((~in_range).sum()),
        "mae_yaw_deg": float(yaw),
        "mae_pitch_deg": float(pitch),
        "mae_roll_deg": float(roll),
        "mae_deg": float(np.mean([yaw, pitch, roll])),
    }


def pascal3d(predicted_deg: np.ndarray, true_deg: np.ndarray) -> dict[str, float | int]:
    """The measures of Pascal3D+, of azimuth alone and of the whole rotation.

    Args:
      predicted_deg, true_deg: viewpoints [pictures, 3].

    Returns:
      pictures; median_azimuth_error_deg and azimuth_acc_pi_6, the share of azimuths within 30
      degrees (what SSV reports is the median); median_rotation_error_deg and rotation_acc_pi_6,
      by the angle of the rotation between the two viewpoints (Tulsiani and Malik 2015).
    """
    azimuth = error_deg(np.asarray(predicted_deg)[:, 0], np.asarray(true_deg)[:, 0])
    rotation = rotation_error_deg(predicted_deg, true_deg)
    return {
        "pictures": len(azimuth),
        "median_azimuth_error_deg": float(np.median(azimuth)),
        "azimuth_acc_pi_6": float((azimuth < PI_6_DEG).mean()),
        "median_rotation_error_deg": float(np.median(rotation)),
        "rotation_acc_pi_6": float((rotation < PI_6_DEG).mean()),
    }


def rotation_error_deg(predicted_deg: np.ndarray, true_deg: np.ndarray) -> np.ndarray:
    """Angle of the rotation from one viewpoint to another: [..., 3] twice -> [...], 0 to 180."""
    first, second = (
        viewpoint.rotation_matrix(np.radians(np.asarray(angles, np.float64)))
        for angles in (predicted_deg, true_deg)
    )
    # |A - B| = 2 sqrt(2) sin(angle / 2), exact where the cosine's slope is flat.
    distance = np.linalg.norm(first - second, axis=(-2, -1))
    return np.degrees(2 * np.arcsin(np.clip(distance / np.sqrt(8.0), 0.0, 1.0)))
