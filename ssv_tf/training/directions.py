"""Which way objects point, from what a picture and its mirror image do not share. No label.

Make, colour and light are the same in a picture and its mirror image; which way the object points
is not. So among views from the side, a principal component of the differences between the ImageNet
features of a picture and of its mirror image is that direction: the one that parts them best in
two. From the side it is carried step by step to views that slant more, by ridge regression on
its own surest answers.

All it needs from V is the azimuth modulo half a circle, which V learns first. Where V tells left
from right as well, pictures on which both agree teach. Which of the two ways is called left stays
V's word where it has one; calibration settles it.
"""

from collections.abc import Callable

import keras
import numpy as np

from ssv_tf.data.framing import to_network
from ssv_tf.models.efficientnet import efficientnet_lite0
from ssv_tf.training import student_pictures
from ssv_tf.training.self_training import PseudoLabels

_SIDE = 64  # pixels of a picture, as the network sees it
_FEATURES = "block_10_add"
_SLANTS_DEG = (72.0, 62.0, 52.0, 42.0, 32.0, 22.0)  # from the side on to views that slant more
_BATCH = 64
_FEWEST, _FEW = 10, 50  # views from the side
_CANDIDATES = 4  # principal components of side views, one of which is the direction
_TWO_PARTS = 2.3  # kurtosis below which they part in two
_FEW_IN_TWO = 1.5  # the same of few views; of 14 that do not part, one set in twenty has less
_ONE_WAY = 0.1  # of the side views: a component along which fewer point the other way is none
_COMPONENTS, _PICTURES = 200, 4000  # of the features that are kept; pictures that choose them
_RIDGE = 0.03
_UNSURE = 0.3  # share of the pictures whose direction does not teach
# Share of sure directions that V, or a student, must agree with for its word to count.
TRUSTED, TRUSTED_STUDENT = 0.97, 0.8
_CONTRADICTED = 0.3  # times the certainty of a direction that a trusted network contradicts
_PROBABILITY = 0.97  # of the direction of a picture that teaches
# Where most pictures show one end: share that slants most, rounds of learning from the surest, and
# share of these that must agree with V for left to be left.
_MOST_SLANTING, _PASSES_OF_ONE_END, _TELLS_LEFT = 0.4, 3, 0.6
_SHOWS_ONE_END = 0.75  # of the pictures


def with_directions(
    differences: np.ndarray,
    labels: PseudoLabels,
    whose: str,
    front_share: float = 0.5,
    say: Callable[[str], object] = lambda text: None,
    trusted: float = TRUSTED,
    combine: Callable[..., PseudoLabels] = PseudoLabels.with_left,
) -> PseudoLabels:
    """The labels with left and right learnt anew, or as they are where that cannot be told.

    Where too few views are from the side, and most pictures show one end, the labels get the axis
    of `axis_of_one_end`, and of the end what `front_share` says of all pictures.

    Args:
      differences, labels, front_share, say, trusted: as of `left`.
      whose: the labels are, for the warning.
      combine: puts what `left` gives into the labels: `PseudoLabels.with_left` in place of their
        own left and right, `PseudoLabels.weighed_with_left` beside it.
    """
    try:
        found = left(differences, labels, front_share, say, trusted)
    except ValueError as error:
        try:
            return _of_one_end(differences, labels, front_share, say)
        except ValueError:
            print(f"warning: left and right stay as {whose} has them: {error}", flush=True)
            return labels
    return combine(labels, *found)


def _of_one_end(
    differences: np.ndarray,
    labels: PseudoLabels,
    front_share: float,
    say: Callable[[str], object],
) -> PseudoLabels:
    """The labels with another axis, and one end for all; ValueError where that cannot be told."""
    commoner = max(front_share, 1.0 - front_share)
    if commoner < _SHOWS_ONE_END:
        raise ValueError(f"{front_share} of the pictures show the front: none of the ends is rare")
    diagonal = axis_of_one_end(differences, labels)
    say(f"directions: learnt as if all pictures showed one end, as {commoner:.2f} of them do")
    front = np.full(len(diagonal), commoner if _mostly_front(labels) else 1.0 - commoner)
    return labels.with_axis(diagonal, front)


def left(
    differences: np.ndarray,
    labels: PseudoLabels,
    front_share: float = 0.5,
    say: Callable[[str], object] = lambda text: None,
    trusted: float = TRUSTED,
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that objects point to image left.

    Args:
      differences: of the unlabelled pictures, float32 [n, k], as the function of that name gives
        them.
      labels: V's answers to them, of which the azimuth modulo half a circle is used; left and
        right to choose which way is left, and as in `score`.
      front_share: share of the pictures that show the end V calls the front.
      say: gets a line at the end, on how many of the surest V has the same direction. That is half
        of them where V does not tell the ends.
      trusted: share of the sure directions that V must agree with for its word to count: the
        pictures on which both agree teach, and what it contradicts becomes uncertain.

    Returns:
      probabilities [n]; bool [n], whether the view slants enough (22 degrees) for them to mean
      something.

    Raises:
      ValueError: too few views from the side, or they do not part in two.
    """
    slant_deg, diagonal = labels.slant_deg, labels.diagonal > 0.5
    side = slant_deg >= _SLANTS_DEG[0]
    if side.sum() < _FEWEST:
        raise ValueError(f"need {_FEWEST} views from the side, got {side.sum()}")
    slanting = slant_deg >= _SLANTS_DEG[-1]
    scores = np.zeros(len(differences))
    own = labels.left > 0.5
    scores[slanting] = score(
        differences[slanting], slant_deg[slanting], diagonal[slanting], own[slanting], trusted
    )
    agreed = _agreement(scores, own)
    if _is_turned(scores, diagonal, agreed, front_share):
        scores, agreed = -scores, 1.0 - agreed
    count = np.sum(np.abs(scores) >= 1.0)
    say(f"directions: {count} pictures are sure, V agrees with {agreed:.2f} of them")
    scores = np.clip(scores, -1.0, 1.0)
    if agreed >= trusted:
        scores[(scores > 0) != own] *= _CONTRADICTED
    return 0.5 + (_PROBABILITY - 0.5) * scores, slanting


def axis_of_one_end(differences: np.ndarray, labels: PseudoLabels) -> np.ndarray:
    """Probabilities that azimuths modulo half a circle are below 90 degrees, if one end is common.

    For collections of which most pictures show one end and few the side, such as buses that stop
    for a photographer. There the most slanting views part in two by which way they slant: as
    nearly all show the same end, that is the way they point. Which of the two is left is V's word.

    Args:
      differences, labels: as of `left`; of the labels slant, left and the commoner end are used.

    Returns:
      probabilities [n].

    Raises:
      ValueError: too few pictures, they do not part in two, or V does not tell left from right.
    """
    slanting = labels.slant_deg >= np.quantile(labels.slant_deg, 1.0 - _MOST_SLANTING)
    if slanting.sum() < _FEW:
        raise ValueError(f"need {_FEW} slanting views, got {slanting.sum()}")
    unit = _unit(differences)
    scores = np.zeros(len(unit))
    scores[slanting] = _relative(_two_way(unit[slanting]))
    x = _reduced(unit)
    for _ in range(_PASSES_OF_ONE_END):
        sure = slanting & (np.abs(scores) >= 1.0)
        one_way = (scores > 0)[sure]
        scores = x @ _ridge(x[sure], one_way, np.zeros_like(one_way))
        scores /= _sure_from(scores[slanting])
    agreed = _agreement(scores[slanting], labels.left[slanting] > 0.5)
    if max(agreed, 1.0 - agreed) < _TELLS_LEFT:
        raise ValueError(f"V has {agreed:.2f} of the surest left")
    # A front points left on one diagonal, a rear on the other.
    if (agreed > 0.5) != _mostly_front(labels):
        scores = -scores
    return 0.5 + (_PROBABILITY - 0.5) * np.clip(scores, -1.0, 1.0)


def differences(layers: np.ndarray) -> np.ndarray:
    """ImageNet features of pictures on grey less those of their mirror images.

    Args:
      layers: unlabelled pictures, uint8 [n, S, S, 4], as `data.cutouts.layer` gives them.

    Returns:
      float32 [n, 1792].
    """
    whole = efficientnet_lite0(_SIDE)
    network = keras.Model(whole.input, whole.get_layer(_FEATURES).output)
    parts = []
    for start in range(0, len(layers), _BATCH):
        squares = student_pictures.on_grey(layers[start : start + _BATCH], _SIDE)
        pictures = to_network(squares)
        both = np.concatenate([pictures, pictures[:, :, ::-1]])
        features = network.predict_on_batch(both).reshape(2, len(squares), -1)
        parts.append(features[0] - features[1])
    return np.concatenate(parts)


def score(
    differences: np.ndarray,
    slant_deg: np.ndarray,
    diagonal: np.ndarray,
    own: np.ndarray,
    trusted: float = TRUSTED,
) -> np.ndarray:
    """How far the pictures point one way (above 0) or the other.

    Args:
      differences: features of the pictures less those of their mirror images, [n, k].
      slant_deg: angle from the mirror plane, 0 (end-on) to 90 (side-on), [n].
      diagonal: whether the azimuth modulo half a circle is below 90 degrees, [n].
      own: whether V says left, [n].
      trusted: share of the sure side views that V must have right for its word to count: then
        the pictures on which both agree teach.

    Returns:
      [n]; -1 and 1 where seven of ten pictures of such a slant are surer, 0 for views that slant
      less than 22 degrees.

    Raises:
      ValueError: the views from the side do not part in two.
    """
    unit = _unit(differences)
    x = _reduced(unit)
    scores = np.zeros(len(x))
    side = slant_deg >= _SLANTS_DEG[0]
    scores[side] = _relative(_two_way(unit[side]))
    believed = _believed(scores, own, trusted)
    for low in _SLANTS_DEG:
        for _ in range(2):
            teaches = np.abs(scores) >= 1.0
            if believed is not None:
                teaches &= (scores > 0) == believed
            projected = x @ _ridge(x[teaches], scores[teaches] > 0, diagonal[teaches])
            high = np.inf
            for edge in _SLANTS_DEG:
                here = (slant_deg >= edge) & (slant_deg < high)
                if edge >= low and here.any():
                    scores[here] = _relative(projected[here])
                high = edge
    return scores


def _mostly_front(labels: PseudoLabels) -> bool:
    """Whether V calls most of the pictures fronts."""
    return bool(np.mean(labels.front > 0.5) > 0.5)


def _unit(differences: np.ndarray) -> np.ndarray:
    """Differences [n, k] of length 1."""
    return differences / (np.linalg.norm(differences, axis=1, keepdims=True) + 1e-6)


def _agreement(scores: np.ndarray, word: np.ndarray) -> float:
    """Share of the sure scores whose sign is that of a word, True or False, on each picture."""
    sure = np.abs(scores) >= 1.0
    return float(np.mean((scores > 0)[sure] == word[sure]))


def _believed(scores: np.ndarray, own: np.ndarray, trusted: float) -> np.ndarray | None:
    """V's word [n] with the sign of the scores, or None if it agrees with too few sure ones."""
    agreed = _agreement(scores, own)
    if max(agreed, 1.0 - agreed) < trusted:
        return None
    return own if agreed > 0.5 else ~own


def _relative(projected: np.ndarray) -> np.ndarray:
    """In multiples of what three of ten fall below, by size."""
    return projected / _sure_from(projected)


def _sure_from(projected: np.ndarray) -> float:
    """The size from which seven of ten are sure of the sign."""
    return max(float(np.quantile(np.abs(projected), _UNSURE)), 1e-9)


def _two_way(unit: np.ndarray) -> np.ndarray:
    """Side views along the principal component that parts them best in two: [n].

    That is the one of least kurtosis: 1 for two points, 3 for a normal distribution.

    Raises:
      ValueError: no component parts them.
    """
    count = min(_CANDIDATES, *unit.shape)
    projected = unit @ _components(unit, count)
    projected -= np.where(_one_way(projected), projected.mean(axis=0), 0.0)
    variance = np.mean(projected**2, axis=0)
    kurtosis = np.mean(projected**4, axis=0) / np.maximum(variance, 1e-12) ** 2
    if kurtosis.min() > (_TWO_PARTS if len(unit) >= _FEW else _FEW_IN_TWO):
        raise ValueError("the views from the side do not part in two")
    return projected[:, np.argmin(kurtosis)]


def _one_way(projected: np.ndarray) -> np.ndarray:
    """Whether nearly all pictures lie on one side of 0, as what is behind them may: [k]."""
    share = np.mean(projected > 0, axis=0)
    return np.minimum(share, 1.0 - share) < _ONE_WAY


def _reduced(unit: np.ndarray) -> np.ndarray:
    """The principal components of differences, half whitened: [n, k] -> [n, at most 200]."""
    components = _components(unit, _COMPONENTS)
    projected = unit @ components
    return projected / np.sqrt(projected.std(axis=0) + 1e-9)


def _components(differences: np.ndarray, count: int) -> np.ndarray:
    """Principal directions of differences, which have no sign and so no mean: [k, count]."""
    some = differences[:: -(-len(differences) // _PICTURES)]
    _, vectors = np.linalg.eigh(some.T @ some)
    return vectors[:, ::-1][:, :count]


def _ridge(x: np.ndarray, one_way: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    """Weights [k] of a regression without a constant, as a mirror image has the other sign.

    Either direction and either diagonal weigh the same, so that the slant itself says nothing.
    """
    cells = 2 * one_way + diagonal
    sizes = np.bincount(cells, minlength=4)
    weights = 1.0 / np.maximum(sizes, 1)[cells]
    weights /= weights.sum()
    moments = x.T @ (x * weights[:, None])
    moments += _RIDGE * np.trace(moments) / len(moments) * np.eye(len(moments))
    return np.linalg.solve(moments, x.T @ (np.where(one_way, 1.0, -1.0) * weights))


def _is_turned(scores: np.ndarray, diagonal: np.ndarray, agreed: float, front_share: float) -> bool:
    """Whether the surest scores say right where V, or the share of fronts, says left.

    Args:
      scores, diagonal: of all pictures, [n].
      agreed: share of the sure scores with V's left and right.
      front_share: see `left`; a half says nothing, and V decides.
    """
    if front_share == 0.5:
        return agreed < 0.5
    fronts = _agreement(scores, diagonal)  # a front points left on one diagonal, right on the other
    return abs(fronts - front_share) > abs(1.0 - fronts - front_share)
