"""How sure an azimuth is: a probability, fitted on the pictures that calibrate the angles.

Half-circle and front-rear mistakes are most of what goes wrong, and they are mistakes in azimuth's
quadrant. So the first thing asked is the margin of its likeliest quadrant, the log odds
log p - log(1 - p) that the network gives it. A student brings a second number, a head that learnt
to tell where it is right (`ssv_tf.distill`). Neither is a probability on pictures that no training
saw; two slopes and an offset make it one (Platt 1999).
"""

import dataclasses
import math
from typing import Any

import numpy as np

# The error up to which an azimuth counts as right: as the scores, and half of it for the limited
# ranges of faces and the like, in which 30 degrees is most of the range.
WITHIN_DEG, WITHIN_LIMITED_DEG = 30.0, 15.0
# Columns of `inference.predict`: three angles, four logits of azimuth's quadrant, the head.
LOGITS, HEAD = slice(3, 7), 7

_START = np.array([1.0, 0.0, 0.0])  # the network taken at its word
_PENALTY = 1.0  # half of the squared distance from that, in nats
_NEWTON_STEPS = 50
_MOST_LOG_ODDS = 30.0
# Of the probability left to the other quadrants: float32 in an exported file knows no less.
LEAST_DOUBT = 1e-6


@dataclasses.dataclass(frozen=True)
class Confidence:
    """Probability that an azimuth is right: sigmoid(margin * slope + head * slope + offset).

    Attributes:
      margin_slope, head_slope: not negative.
      offset: log odds.
      within_deg: the error up to which an azimuth counts as right.
    """

    margin_slope: float
    head_slope: float
    offset: float
    within_deg: float = WITHIN_DEG

    def __post_init__(self):
        numbers = dataclasses.astuple(self)
        if not all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers):
            raise ValueError(f"confidence needs four numbers, got {numbers}")
        if min(self.margin_slope, self.head_slope) < 0 or self.within_deg <= 0:
            raise ValueError(f"confidence has a slope below 0 or no tolerance: {numbers}")

    def apply(self, raw: np.ndarray, bias) -> np.ndarray:
        """Probabilities [...] of predictions [..., 7 or 8], as `inference.predict` gives them.

        Args:
          bias: [4], added to the quadrant's logits.
        """
        slopes = np.array([self.margin_slope, self.head_slope, self.offset])
        return _sigmoid(_features(raw, bias) @ slopes)

    def to_dict(self) -> dict[str, float]:
        """For JSON; `Confidence(**...)` reads it."""
        return dataclasses.asdict(self)


def within_deg(limited: bool) -> float:
    """The error up to which an azimuth counts as right, by whether its range is limited."""
    return WITHIN_LIMITED_DEG if limited else WITHIN_DEG


def from_dict(values: dict[str, Any] | None) -> Confidence | None:
    """What `to_dict` wrote, or None; TypeError or ValueError where it is something else."""
    return None if values is None else Confidence(**values)


def fit(raw: np.ndarray, bias, errors_deg: np.ndarray, within_deg: float) -> Confidence:
    """The likeliest slopes and offset, drawn a little towards the network's own word.

    Args:
      raw: [pictures, 7 or 8], as `inference.predict` gives them.
      bias: [4], added to the quadrant's logits.
      errors_deg: [pictures], of the calibrated azimuth.
      within_deg: the error up to which an azimuth counts as right.
    """
    features, right = _features(raw, bias), (errors_deg <= within_deg).astype(float)
    free = [0, 2] if raw.shape[-1] <= HEAD else [0, 1, 2]
    values = _newton(features, right, free)
    # Surer must never mean worse: such a slope is chance or a broken head, and is left out.
    while (values[:2] < 0).any():
        free = [i for i in free if i == 2 or values[i] >= 0]
        values = _newton(features, right, free)
    margin_slope, head_slope, offset = map(float, values)
    return Confidence(margin_slope, head_slope, offset, float(within_deg))


def _newton(features, right, free):
    """Penalised logistic regression; slopes that are not free stay 0."""
    values = np.where(np.isin(np.arange(3), free), _START, 0.0)
    own = features[:, free]
    for _ in range(_NEWTON_STEPS):
        share = _sigmoid(features @ values)
        gradient = own.T @ (share - right) + _PENALTY * (values - _START)[free]
        curve = (own * (share * (1.0 - share))[:, None]).T @ own + _PENALTY * np.eye(len(free))
        change = np.linalg.solve(curve, gradient)
        values[free] -= change / max(1.0, float(np.abs(change).max()))
    return values


def _features(raw, bias):
    """[..., 3]: margin of the likeliest quadrant, the head's log odds (0 without one), 1."""
    raw = np.asarray(raw, np.float64)
    logits = raw[..., LOGITS] + np.asarray(bias)
    share = np.exp(logits - logits.max(axis=-1, keepdims=True))
    top = (share / share.sum(axis=-1, keepdims=True)).max(axis=-1)
    margin = np.log(top) - np.log(np.maximum(1.0 - top, LEAST_DOUBT))
    head = raw[..., HEAD] if raw.shape[-1] > HEAD else np.zeros_like(margin)
    return np.stack([margin, head, np.ones_like(margin)], axis=-1)


def _sigmoid(log_odds):
    return 1.0 / (1.0 + np.exp(-np.clip(log_odds, -_MOST_LOG_ODDS, _MOST_LOG_ODDS)))


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> dict[str, Any]:
    """Whether pictures called p sure are right in p of the cases.

    Args:
      confidence: [pictures] in 0..1.
      right: [pictures], booleans.
      bins: of equally many pictures each, as equal widths would leave most of them empty.

    Returns:
      expected_calibration_error (Guo et al. 2017, mean distance weighted by pictures), and
      bins: pictures, confidence (mean), right (share) of each.
    """
    order = np.argsort(confidence, kind="stable")
    rows = [
        {
            "pictures": len(part),
            "confidence": float(confidence[part].mean()),
            "right": float(right[part].mean()),
        }
        for part in np.array_split(order, min(bins, len(order)))
    ]
    apart = sum(row["pictures"] * abs(row["confidence"] - row["right"]) for row in rows)
    return {"expected_calibration_error": float(apart / len(order)), "bins": rows}


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
        kept = order[: max(1, round(len(order) * tenth / 10))]
        rows.append(
            {
                "coverage": tenth / 10,
                "median_error_deg": float(np.median(errors_deg[kept])),
                "right": float((errors_deg[kept] <= within_deg).mean()),
                "confidence_from": float(confidence[kept].min()),
            }
        )
    return rows


def score(confidence: np.ndarray, errors_deg: np.ndarray, within_deg: float) -> dict[str, Any]:
    """`reliability` and `risk_coverage` of one set of pictures, as a dict that goes to JSON."""
    right = errors_deg <= within_deg
    return {
        "within_deg": within_deg,
        **reliability(confidence, right),
        "risk_coverage": risk_coverage(confidence, errors_deg, within_deg),
    }
