"""Whether a picture looks like those that a calibration was fitted on.

A network answers for a picture of anything. Its early blocks, which know edges and colours rather
than viewpoints, tell pictures of something else from those of the collection: the distance is
Mahalanobis's, of the means and deviations of a block's channels (as Lee et al. 2018, for one class
and an early layer). It needs no label and no picture of something else.

A hundred pictures are few for the correlations of up to 64 numbers, so these are drawn towards
none. The distance of a picture that the fit has seen says nothing: the threshold comes from
pictures that were left out.
"""

import dataclasses
import math
from typing import Any

import numpy as np

FEWEST = 30  # pictures
_SHRUNK = 0.2  # share by which correlations are drawn towards none
_LEAST_DEVIATION = 1e-3  # of a statistic that is the same in every picture
_FOLDS = 10
_DEVIATIONS = 2.05  # of the logarithm of left-out distances, above which 2 % of a normal one lie
_LEAST_SPREAD = 0.05  # of pictures that are all alike
_DIGITS = 6


@dataclasses.dataclass(frozen=True)
class Novelty:
    """Distance of channel statistics from a collection's: `models.decoding` works it out.

    Attributes:
      mean: [k], of the fitted pictures.
      factor: rows of a lower triangular matrix, 1 to k numbers long: the inverse of the Cholesky
        factor of the shrunk covariance.
      threshold: distance above which about 2 % of unseen pictures of the collection lie.
      spread: deviation of the logarithm of such a picture's distance.
    """

    mean: tuple[float, ...]
    factor: tuple[tuple[float, ...], ...]
    threshold: float
    spread: float

    def __post_init__(self) -> None:
        numbers = (
            *self.mean,
            *(n for row in self.factor for n in row),
            self.threshold,
            self.spread,
        )
        if not all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers):
            raise ValueError("novelty holds something that is no number")
        lengths = [len(row) for row in self.factor]
        if not self.mean or lengths != list(range(1, len(self.mean) + 1)):
            raise ValueError(f"novelty has a mean of {len(self.mean)} and rows of {lengths}")
        if min(self.threshold, self.spread) <= 0:
            raise ValueError(f"novelty has a threshold {self.threshold}, a spread {self.spread}")

    @property
    def matrix(self) -> np.ndarray:
        """`factor`, [k, k]."""
        matrix = np.zeros((len(self.mean), len(self.mean)))
        matrix[np.tril_indices(len(self.mean))] = [n for row in self.factor for n in row]
        return matrix

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` reads it."""
        return dataclasses.asdict(self)


def from_dict(values: dict[str, Any] | None) -> Novelty | None:
    """What `to_dict` wrote, or None; TypeError or ValueError where it is something else."""
    if values is None:
        return None
    factor = tuple(map(tuple, values["factor"]))
    return Novelty(tuple(values["mean"]), factor, values["threshold"], values["spread"])


def fit(statistics: np.ndarray | None) -> Novelty | None:
    """Fits on the pictures of a calibration.

    Args:
      statistics: [pictures, k] (`layers.channel_statistics`); None of a network without them.

    Returns:
      None where there are no statistics, or fewer than `FEWEST` pictures.
    """
    if statistics is None or len(statistics) < FEWEST:
        return None
    logarithms = np.log(np.maximum(_left_out_distances(statistics), 1e-6))
    spread = max(logarithms.std(), _LEAST_SPREAD)
    threshold = np.exp(logarithms.mean() + _DEVIATIONS * spread)
    mean, matrix = _whitening(statistics)
    factor = tuple(_rounded(row[: i + 1]) for i, row in enumerate(matrix))
    return Novelty(_rounded(mean), factor, *_rounded([threshold, spread]))


def _left_out_distances(statistics: np.ndarray) -> np.ndarray:
    folds = np.random.default_rng(0).permutation(len(statistics)) % _FOLDS
    distances = np.empty(len(statistics))
    for fold in range(_FOLDS):
        mean, matrix = _whitening(statistics[folds != fold])
        whitened = (statistics[folds == fold] - mean) @ matrix.T
        distances[folds == fold] = np.sqrt((whitened**2).mean(axis=1))
    return distances


def _whitening(statistics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean [k], lower triangular matrix [k, k])."""
    mean = statistics.mean(axis=0)
    deviation = statistics.std(axis=0) + _LEAST_DEVIATION
    standard = (statistics - mean) / deviation
    correlation = standard.T @ standard / len(standard)
    shrunk = (1.0 - _SHRUNK) * correlation + _SHRUNK * np.eye(len(mean))
    return mean, np.linalg.inv(np.linalg.cholesky(shrunk)) / deviation


def _rounded(values: Any) -> tuple[float, ...]:
    return tuple(float(f"{value:.{_DIGITS}g}") for value in values)
