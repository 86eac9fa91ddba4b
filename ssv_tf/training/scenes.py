"""The student goes on with unlabelled photos of the object in its surroundings.

What it learnt from pictures on changed backgrounds orders the ends of such photos well, yet calls
too many of them alike. It answers them itself; which way they point is learnt from their mirror
images (`training.directions`). The photos it is surest of join its pictures with these answers as
labels (self-training): as many fronts as rears of each slant, so that "always the commoner end" is
no good answer. Then it answers anew.

How many of the photos show the front is not learnt here: it is given, as a look at a few tells.
What V calls the front may be the rear, which no unlabelled picture can tell; whichever end the
student calls commoner is taken for the commoner one.
"""

from collections.abc import Iterator

import numpy as np

from ssv_tf.training.self_training import SIDE_ON_DEG, PseudoLabels

_SHARES = (0.5, 0.7, 0.85)  # of the photos that join, by round
_END_PROBABILITY = 0.97  # probability given to the end of a photo that joins
_SLANT_EDGES_DEG = (22.0, 45.0, SIDE_ON_DEG)
_SURE_OF_LEFT = 0.75  # probability of left or right, of a view from the side that joins
_FEWEST = 5  # photos of either end; a slant with fewer is left out
_OFTENEST = 8.0  # a photo is drawn at most this many times as often as the middle one


def confident_ends(
    labels: PseudoLabels, front_share: float, number: int
) -> tuple[np.ndarray, PseudoLabels]:
    """The photos that join in a round.

    Args:
      labels: the student's answers to all photos.
      front_share: share of the photos that show the front half, or what V calls the rear, if the
        student calls most of them so.
      number: of the round, from 0; later ones take more photos.

    Returns:
      odds of each photo to be drawn, [n], summing to 1, 0 for those left out; the labels to learn,
      with the ends of the joining photos settled. Of views from the side as many join that point
      left as right.

    Raises:
      ValueError: no slant has five photos of either end among the surest.
    """
    share = _SHARES[min(number, len(_SHARES) - 1)]
    n = len(labels.front)
    called_front = np.mean(labels.front > 0.5)
    if abs(called_front - front_share) > abs(called_front - (1.0 - front_share)):
        front_share = 1.0 - front_share
    order = np.argsort(labels.front, kind="stable")
    ends = np.zeros((2, n), bool)  # rears, fronts
    ends[0, order[: round(share * (1.0 - front_share) * n)]] = True
    ends[1, order[n - round(share * front_share * n) :]] = True
    slants = np.digitize(labels.slant_deg, _SLANT_EDGES_DEG)
    from_side = labels.slant_deg >= SIDE_ON_DEG
    ends[:, from_side] = np.stack([1.0 - labels.left, labels.left])[:, from_side] > _SURE_OF_LEFT
    odds = np.zeros(n)
    for slant in range(len(_SLANT_EDGES_DEG) + 1):
        here = ends & (slants == slant)
        if here.sum(axis=1).min() >= _FEWEST:
            for end in here:
                odds[end] = (slants == slant).sum() / 2.0 / end.sum()
    if not odds.any():
        raise ValueError(f"no slant has {_FEWEST} photos of either end that the student is sure of")
    odds = np.minimum(odds, _OFTENEST * np.median(odds[odds > 0]))
    settled = np.where(ends[1], _END_PROBABILITY, np.where(ends[0], 1.0 - _END_PROBABILITY, 0.5))
    return odds / odds.sum(), labels.with_front(settled)


def joined(
    first: Iterator[tuple[dict[str, np.ndarray]]], second: Iterator[tuple[dict[str, np.ndarray]]]
) -> Iterator[tuple[dict[str, np.ndarray]]]:
    """Batches of two feeds, one behind the other."""
    for (one,), (other,) in zip(first, second, strict=False):
        yield ({name: np.concatenate([one[name], other[name]]) for name in one},)
