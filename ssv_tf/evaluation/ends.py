"""Are front and rear told apart? Shares within some degrees hide it on a collection of fronts.

A front is a true azimuth within 60 degrees of 0, a rear one within 60 degrees of 180; side views
are left out. A prediction says front where it is less than 90 degrees from 0. The balanced accuracy
is the mean of the shares of fronts and of rears that are called so: 0.5 for a coin, for a constant
and for "always the commoner end", however many more there are of one.
"""

from typing import Any

import numpy as np

from ssv_tf import viewpoint

FRONT, REAR = "front", "rear"
END_DEG = 60.0
FEWEST = 5  # pictures of each end; with fewer nothing is said
COIN = 0.5
NOT_SEPARATED = "front and rear are not told apart"  # how `verdict` begins
SEPARATED_ACCURACY = 0.75  # a lower bound below this is a doubt
_DRAWS = 20_000  # of the posterior: its quantiles then move by less than 0.002


def sides(true_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Booleans (fronts, rears) of true azimuths [pictures]; NaN is neither."""
    angle = np.abs(viewpoint.wrap_deg(true_deg))
    return angle <= END_DEG, angle >= 180.0 - END_DEG


def covered(true_deg: np.ndarray) -> bool:
    """Whether true azimuths [pictures] hold enough fronts and enough rears to compare them."""
    return min(int(np.count_nonzero(side)) for side in sides(true_deg)) >= FEWEST


def even_weights(true_deg: np.ndarray) -> np.ndarray | None:
    """Weights [pictures] of mean 1 with which both halves of the circle weigh the same.

    Every picture counts, side views with the half they lie in. None where `covered` is not so.
    """
    if not covered(true_deg):
        return None
    rear = np.abs(viewpoint.wrap_deg(true_deg)) > 90.0
    share = rear.mean()
    return np.where(rear, 0.5 / share, 0.5 / (1.0 - share))


def score(
    predicted_deg: np.ndarray,
    true_deg: np.ndarray,
    frontness: np.ndarray | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Any] | None:
    """How well front and rear are told apart, or None where `covered` is not so.

    Args:
      predicted_deg, true_deg: azimuths [pictures].
      frontness: [pictures], higher where a front is likelier; None: the cosine of the prediction.
      seed, resamples: of the AUC's bootstrap, which draws fronts and rears apart.

    Returns:
      fronts, rears (pictures), fronts_right, rears_right (shares), balanced_accuracy, auc (share
      of pairs of a front and a rear whose frontness is in that order), and interval_95 of the last
      two: percentiles of the balanced accuracy's posterior (Brodersen et al. 2010, flat priors,
      which say something of five pictures too), and of the bootstrap.
    """
    if not covered(true_deg):
        return None
    fronts, rears = sides(true_deg)
    if frontness is None:
        frontness = np.cos(np.radians(predicted_deg))
    right = (_says_front(predicted_deg[fronts]), ~_says_front(predicted_deg[rears]))
    ordered = frontness[fronts], frontness[rears]
    return {
        "fronts": len(right[0]),
        "rears": len(right[1]),
        "fronts_right": float(right[0].mean()),
        "rears_right": float(right[1].mean()),
        "balanced_accuracy": float((right[0].mean() + right[1].mean()) / 2),
        "auc": auc(*ordered),
        "interval_95": {
            "balanced_accuracy": posterior_interval(*right),
            "auc": _bootstrap_auc(*ordered, seed, resamples),
        },
    }


def _says_front(predicted_deg):
    return np.abs(viewpoint.wrap_deg(predicted_deg)) < 90.0


def posterior_interval(fronts_right: np.ndarray, rears_right: np.ndarray) -> list[float]:
    """95 % interval [low, high] of the balanced accuracy, from booleans of each end."""
    random = np.random.default_rng(0)
    shares = [
        random.beta(1 + right.sum(), 1 + (~right).sum(), _DRAWS)
        for right in (fronts_right, rears_right)
    ]
    return np.quantile(sum(shares) / 2, (0.025, 0.975)).tolist()


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Share of pairs in which the positive is the higher; ties count half (Mann-Whitney)."""
    values = np.concatenate([positive, negative])
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # the mean rank of equals
    won = ranks[: len(positive)].sum() - len(positive) * (len(positive) + 1) / 2
    return float(won / (len(positive) * len(negative)))


def _bootstrap_auc(
    positive: np.ndarray, negative: np.ndarray, seed: int, resamples: int
) -> list[float]:
    random = np.random.default_rng(seed)
    drawn = [
        auc(*(side[random.integers(len(side), size=len(side))] for side in (positive, negative)))
        for _ in range(resamples)
    ]
    return np.quantile(drawn, (0.025, 0.975)).tolist()


def commoner(true_deg: np.ndarray) -> str:
    """The end of which true azimuths [pictures] hold more."""
    fronts, rears = sides(true_deg)
    return FRONT if np.count_nonzero(fronts) >= np.count_nonzero(rears) else REAR


def folded(predicted_deg: np.ndarray, end: str) -> np.ndarray:
    """Predictions with the axis kept and the end always the same: others turn half a circle."""
    turned = _says_front(predicted_deg) != (end == FRONT)
    return viewpoint.wrap_deg(predicted_deg + np.where(turned, 180.0, 0.0))


def doubts(predicted_deg: np.ndarray, true_deg: np.ndarray) -> list[str]:
    """A sentence where labelled pictures show that front and rear are not told apart, or hardly.

    Args:
      predicted_deg, true_deg: azimuths [pictures].
    """
    result = score(predicted_deg, true_deg, resamples=1)
    return [] if result is None else verdict(result)


def verdict(result: dict[str, Any]) -> list[str]:
    """`doubts` from what `score` returned."""
    low, high = result["interval_95"]["balanced_accuracy"]
    if low >= SEPARATED_ACCURACY:
        return []
    measured = (
        f"(balanced accuracy {result['balanced_accuracy']:.2f}, 95 % interval {low:.2f} to "
        f"{high:.2f}, on {result['fronts']} fronts and {result['rears']} rears; 0.5 is a coin)"
    )
    if low <= COIN:
        return [f"azimuth: {NOT_SEPARATED} {measured}"]
    return [f"azimuth: {NOT_SEPARATED} for certain {measured}"]


def line(result: dict[str, Any]) -> str:
    """What `score` returned, as a line of text."""
    low, high = result["interval_95"]["balanced_accuracy"]
    return (
        f"front/rear: balanced accuracy {result['balanced_accuracy']:.3f} ({low:.3f} to "
        f"{high:.3f}; 0.5 is a coin), AUC {result['auc']:.3f}; right are "
        f"{result['fronts_right']:.2f} of {result['fronts']:,} fronts, "
        f"{result['rears_right']:.2f} of {result['rears']:,} rears"
    )
