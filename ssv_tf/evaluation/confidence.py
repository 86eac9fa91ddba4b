"""How sure an azimuth is: a probability, fitted on the pictures that calibrate the angles.

Half-circle and front-rear mistakes are most of what goes wrong, and they are mistakes in azimuth's
quadrant. So the first thing asked is the margin of its likeliest quadrant, the log odds
log p - log(1 - p) that the network gives it. A student brings a second number, a head that learnt
to tell where it is right (`ssv_tf.distill`). Neither is a probability on pictures that no training
saw; two slopes and an offset make it one (Platt 1999).

Where most labelled pictures are fronts and V calls nearly all of them so, such a probability is
that of being a front, and wrong on a collection that goes round the circle. There the fit weighs
both halves of the circle the same: it then says too little of a collection of fronts, and does not
promise what an even one does not hold.
"""

import dataclasses
import math
from typing import Any

import numpy as np

# The error up to which an azimuth counts as right: as the scores, and half of it for the limited
# ranges of faces and the like, in which 30 degrees is most of the range.
WITHIN_DEG, WITHIN_LIMITED_DEG = 30.0, 15.0

_START = np.array([1.0, 0.0, 0.0])  # the network taken at its word
_PENALTY = 1.0  # half of the squared distance from that, in nats
_NEWTON_STEPS = 50
_OFF = 0.1  # between mean confidence and share right; more is fitted again on even ends
_MOST_LOG_ODDS = 30.0


@dataclasses.dataclass(frozen=True)
class Confidence:
    """Probability that an azimuth is right: sigmoid(margin * slope + head * slope + offset).

    `models.decoding` works it out.

    Attributes:
      margin_slope, head_slope: not negative.
      offset: log odds.
      within_deg: the error up to which an azimuth counts as right.
      even_ends: fitted with both halves of the circle weighing the same.
    """

    margin_slope: float
    head_slope: float
    offset: float
    within_deg: float = WITHIN_DEG
    even_ends: bool = False

    def __post_init__(self):
        numbers = dataclasses.astuple(self)
        if not all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers):
            raise ValueError(f"confidence needs four numbers, got {numbers}")
        if min(self.margin_slope, self.head_slope) < 0 or self.within_deg <= 0:
            raise ValueError(f"confidence has a slope below 0 or no tolerance: {numbers}")

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `Confidence(**...)` reads it."""
        values = dataclasses.asdict(self)
        return values if self.even_ends else {k: v for k, v in values.items() if k != "even_ends"}


def within_deg(limited: bool) -> float:
    """The error up to which an azimuth counts as right, by whether its range is limited."""
    return WITHIN_LIMITED_DEG if limited else WITHIN_DEG


def from_dict(values: dict[str, Any] | None) -> Confidence | None:
    """What `to_dict` wrote, or None; TypeError or ValueError where it is something else."""
    return None if values is None else Confidence(**values)


def fit(
    margin: np.ndarray,
    head: np.ndarray | None,
    errors_deg: np.ndarray,
    within_deg: float,
    even_weights: np.ndarray | None = None,
) -> Confidence:
    """The likeliest slopes and offset, drawn a little towards the network's own word.

    Args:
      margin: [pictures], log odds of azimuth's likeliest quadrant (`decoding.quadrant_margin`).
      head: [pictures], a student's own log odds; None without that head.
      errors_deg: [pictures], of the calibrated azimuth.
      within_deg: the error up to which an azimuth counts as right.
      even_weights: [pictures] of mean 1, with which both halves of the circle weigh the same; they
        are used where the plain fit's mean is more than 0.1 off under them. None: plain.
    """
    right = (errors_deg <= within_deg).astype(float)
    head_log_odds = np.zeros_like(margin) if head is None else head
    features = np.stack([margin, head_log_odds, np.ones_like(margin)], axis=-1)
    free = [0, 2] if head is None else [0, 1, 2]
    values = _likeliest(features, right, free, np.ones(len(right)))
    even = False
    if even_weights is not None:
        bias = np.mean(even_weights * (_sigmoid(features @ values) - right))
        even = bool(abs(bias) > _OFF)
    if even:
        values = _likeliest(features, right, free, even_weights)
    margin_slope, head_slope, offset = map(float, values)
    return Confidence(margin_slope, head_slope, offset, float(within_deg), even)


def _likeliest(features, right, free, weights):
    """Slopes and offset, none of the slopes below 0."""
    values = _newton(features, right, free, weights)
    # Surer must never mean worse: such a slope is chance or a broken head, and is left out.
    while (values[:2] < 0).any():
        free = [i for i in free if i == 2 or values[i] >= 0]
        values = _newton(features, right, free, weights)
    return values


def _newton(features, right, free, weights):
    """Penalised logistic regression; slopes that are not free stay 0."""
    values = np.where(np.isin(np.arange(3), free), _START, 0.0)
    free_features = features[:, free]
    for _ in range(_NEWTON_STEPS):
        share = _sigmoid(features @ values)
        gradient = (
            free_features.T @ (weights * (share - right)) + _PENALTY * (values - _START)[free]
        )
        bend = weights * share * (1.0 - share)
        curve = (free_features * bend[:, None]).T @ free_features + _PENALTY * np.eye(len(free))
        change = np.linalg.solve(curve, gradient)
        values[free] -= change / max(1.0, float(np.abs(change).max()))
    return values


def _sigmoid(log_odds):
    return 1.0 / (1.0 + np.exp(-np.clip(log_odds, -_MOST_LOG_ODDS, _MOST_LOG_ODDS)))


def reliability(
    confidence: np.ndarray,
    right: np.ndarray,
    bins: int = 10,
    weights: np.ndarray | None = None,
) -> dict[str, Any]:
    """Whether pictures called p sure are right in p of the cases.

    Args:
      confidence: [pictures] in 0..1.
      right: [pictures], booleans.
      bins: of equally many pictures each, as equal widths would leave most of them empty.
      weights: [pictures]; None: all the same.

    Returns:
      expected_calibration_error (Guo et al. 2017, mean distance weighted by pictures), and
      bins: pictures, confidence (mean), right (share) of each.
    """
    order = np.argsort(confidence, kind="stable")
    weights = np.ones(len(order)) if weights is None else weights
    parts = np.array_split(order, min(bins, len(order)))
    rows = [
        {
            "pictures": len(part),
            "confidence": float(np.average(confidence[part], weights=weights[part])),
            "right": float(np.average(right[part], weights=weights[part])),
        }
        for part in parts
    ]
    total_error = sum(
        weights[part].sum() * abs(row["confidence"] - row["right"])
        for part, row in zip(parts, rows, strict=True)
    )
    return {"expected_calibration_error": float(total_error / weights.sum()), "bins": rows}


def risk_coverage(
    confidence: np.ndarray, errors_deg: np.ndarray, within_deg: float
) -> list[dict[str, float]]:
    """What is left wrong where the least sure answers are refused (El-Yaniv and Wiener 2010).

    Args:
      confidence, errors_deg: [pictures].
      within_deg: the error up to which an azimuth counts as right.

    Returns:
      for coverages 0.1, 0.2 .. 1: coverage, median_error_deg, right (share), confidence_from.
    """
    order = np.argsort(-confidence, kind="stable")
    rows = []
    for tenth in range(1, 11):
        covered = order[: max(1, round(len(order) * tenth / 10))]
        rows.append(
            {
                "coverage": tenth / 10,
                "median_error_deg": float(np.median(errors_deg[covered])),
                "right": float((errors_deg[covered] <= within_deg).mean()),
                "confidence_from": float(confidence[covered].min()),
            }
        )
    return rows


def beyond(scored: dict[str, Any]) -> str:
    """Words to put behind the degrees within which an answer is right, where labels are classes."""
    return " beyond the label's tolerance" if scored.get("label_tolerance_deg") else ""


def of_even(scored: dict[str, Any]) -> str:
    """What `score` found of even ends, in words to put behind its calibration error."""
    if "expected_calibration_error_even" not in scored:
        return ""
    error = scored["expected_calibration_error_even"]
    fitted = "; fitted so" if scored.get("even_ends") else ""
    return f" ({error:.3f} with fronts and rears weighing the same{fitted})"


def score(
    confidence: np.ndarray,
    errors_deg: np.ndarray,
    within_deg: float,
    even_weights: np.ndarray | None = None,
) -> dict[str, Any]:
    """`reliability` and `risk_coverage` of one set of pictures, as a dict that goes to JSON.

    With `even_weights` [pictures], under which both halves of the circle weigh the same, also
    expected_calibration_error_even: that of an even collection.
    """
    right = errors_deg <= within_deg
    even = {}
    if even_weights is not None:
        even_reliability = reliability(confidence, right, weights=even_weights)
        even["expected_calibration_error_even"] = even_reliability["expected_calibration_error"]
    return {
        "within_deg": within_deg,
        **reliability(confidence, right),
        **even,
        "risk_coverage": risk_coverage(confidence, errors_deg, within_deg),
    }
