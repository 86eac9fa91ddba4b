"""Learns front from rear without a label, where it is known for slanting views alone.

Slanting views show which way the object points (`training.directions`), and so which end is
nearer. Seen end-on the outlines of both ends agree, and V tosses a coin. A network with ImageNet
features learns the ends on three-quarter views from random windows of the picture, which hold
lamps, plates and glass and not the outline, and carries them to the end-on views. Then it teaches
itself in rounds (self-training): of the end-on views those it is surest of join its training
pictures, as many for either end as the share of fronts says.

Which of the two ends is the front stays V's word; calibration settles it.
"""

import dataclasses
from collections.abc import Callable, Iterator

import keras
import numpy as np

from ssv_tf.data import cutouts, framing
from ssv_tf.models.efficientnet import efficientnet_lite0
from ssv_tf.training import rates
from ssv_tf.training.self_training import SIDE_ON_DEG

_SIDE = 64  # pixels of a window, as the network sees it
_FROZEN = 5  # inverted bottlenecks that keep their ImageNet weights
_WEIGHT_DECAY = 1e-4
_SLANT_DEG = (25.0, 65.0)  # from the mirror plane: V's three-quarter views
_END_ON_DEG = 22.0  # below it a view is end-on
_BINS = 8  # of the slant, in which both ends weigh the same
_CONFIDENT_MARGIN = 0.25  # distance of V's front probability from a half
_WIDTHS = ((0.25, 0.8), (0.4, 1.0))  # of a window, in the first round and later, shares
_HEIGHTS = (0.6, 1.05)
_ASKED_WIDTHS, _WINDOWS_ASKED = (0.7, 1.0), 4
_ASKED = 64  # pictures at once
_SHARES = (0.3, 0.4, 0.45)  # of the end-on views that join for each end, by round


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the ends are learnt.

    Attributes:
      rounds: of training; the first on three-quarter views alone.
      steps: of each round.
      batch_size: windows a step.
      rate: AdamW's learning rate.
    """

    rounds: int = 4
    steps: int = 400
    batch_size: int = 32
    rate: float = 5e-4


def learn_ends(
    layers: np.ndarray,
    slant_deg: np.ndarray,
    front: np.ndarray,
    behind: np.ndarray,
    settings: Settings = Settings(),
    seed: int = 0,
    say: Callable[[str], object] = lambda text: None,
    front_share: float = 0.5,
) -> np.ndarray:
    """Probabilities that pictures show the end V calls the front.

    Args:
      layers: unlabelled pictures, uint8 [n, S, S, 4], as `data.cutouts.layer` gives them.
      slant_deg: V's angle from the mirror plane, 0 (end-on) to 90 (side-on), [n].
      front: probability of the half V calls the front, [n].
      behind: pictures put behind cut-outs, uint8 [m, S, S, 3].
      settings: how.
      seed: of everything random.
      say: gets a line after each round.
      front_share: share of the pictures that show the end V calls the front.

    Returns:
      float64 [n]: the network's for end-on views; the given one for all others that are sure or
      from the side, and else the network's.

    Raises:
      ValueError: too few three-quarter views are sure of either end to begin with.
    """
    rng = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    boxes = cutouts.box(layers)
    weights, is_front = three_quarter(slant_deg, front)
    end_on = np.flatnonzero(slant_deg < _END_ON_DEG)
    scores = np.zeros(len(end_on))
    network = _network(seed)
    warm_up = max(1, settings.steps // 16)
    rate = rates.warm_up_and_fall(settings.steps, settings.rate, warm_up)
    for number in range(settings.rounds):
        share = 0.0 if not number else _SHARES[min(number, len(_SHARES)) - 1]
        round_weights, round_is_front = _with_end_on(
            weights, is_front, end_on, scores, share, front_share
        )
        if number:
            _start_anew(network, seed)
        feed = _windows(
            layers,
            boxes,
            behind,
            round_weights,
            round_is_front,
            _WIDTHS[min(number, 1)],
            settings,
            rng,
        )
        history = network.fit(
            feed,
            steps_per_epoch=settings.steps,
            epochs=1,
            shuffle=False,
            verbose=0,
            callbacks=[rates.RateByStep(rate)],
        )
        scores = _ask(network, layers[end_on], boxes[end_on], rng)
        loss = history.history["loss"][-1]
        say(f"ends, round {number + 1} of {settings.rounds}: loss {loss:.3f}")
    answers = np.array(front, np.float64)
    uncertain = np.flatnonzero(
        (np.abs(front - 0.5) <= _CONFIDENT_MARGIN)
        & (slant_deg >= _END_ON_DEG)
        & (slant_deg < SIDE_ON_DEG)
    )
    # Both ends are as frequent among end-on views as the threshold makes them.
    threshold = np.quantile(scores, 1.0 - front_share) if len(scores) else 0.0
    answers[end_on] = _sigmoid(scores - threshold)
    if len(uncertain):
        answers[uncertain] = _sigmoid(_ask(network, layers[uncertain], boxes[uncertain], rng))
    return answers


def three_quarter(slant_deg: np.ndarray, front: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """V's three-quarter views, weighed so that the slant says nothing about the end.

    Returns:
      sampling weights [n] that sum to 1, 0 for what is not used; wanted ends [n], True: front.

    Raises:
      ValueError: fewer than 50 sure views of either end.
    """
    low, high = _SLANT_DEG
    used = (slant_deg > low) & (slant_deg < high) & (np.abs(front - 0.5) > _CONFIDENT_MARGIN)
    is_front = front > 0.5
    counts = int((used & is_front).sum()), int((used & ~is_front).sum())
    if min(counts) < 50:
        raise ValueError(
            f"need 50 sure three-quarter views of either end, got {counts[0]} fronts and "
            f"{counts[1]} rears"
        )
    edges = np.linspace(low, high, _BINS + 1)[1:-1]
    which = np.digitize(slant_deg, edges)
    weights = np.zeros(len(slant_deg))
    for number in range(_BINS):
        here = used & (which == number)
        ends = [here & is_front, here & ~is_front]
        if min(end.sum() for end in ends) < 5:
            continue
        for end in ends:
            weights[end] = here.sum() / 2 / end.sum()
    return weights / weights.sum(), is_front


def _with_end_on(
    weights: np.ndarray,
    is_front: np.ndarray,
    end_on: np.ndarray,
    scores: np.ndarray,
    share: float,
    front_share: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Adds the surest end-on views, 2 `share` of them, with half of the weight.

    As many join for either end as `front_share` says that there are; both ends weigh the same.
    """
    if not share or len(end_on) < 20:
        return weights, is_front
    weights, is_front = weights.copy(), is_front.copy()
    low, high = np.quantile(
        scores, [2.0 * share * (1.0 - front_share), 1.0 - 2.0 * share * front_share]
    )
    rears, fronts = end_on[scores <= low], end_on[scores >= high]
    weights *= 0.5
    for indices, end in ((fronts, True), (rears, False)):
        weights[indices] = 0.25 / len(indices)
        is_front[indices] = end
    return weights / weights.sum(), is_front


def freeze_first_blocks(backbone: keras.Model) -> None:
    """Keeps ImageNet's weights in the first five blocks of an EfficientNet-Lite0.

    They cost most of a step and change least.
    """
    trainable = False
    for layer in backbone.layers:
        trainable = trainable or layer.name.startswith(f"block_{_FROZEN}_")
        layer.trainable = trainable


def _network(seed: int) -> keras.Model:
    network = _untrained(seed)
    optimizer = keras.optimizers.AdamW(weight_decay=_WEIGHT_DECAY)
    optimizer.build(network.trainable_weights)  # else `fit` does, and traces its step twice
    network.compile(optimizer, keras.losses.BinaryCrossentropy(from_logits=True))
    return network


def _start_anew(network: keras.Model, seed: int) -> None:
    """Makes a trained network untrained: its compiled step serves the next round."""
    for variable, start in zip(network.variables, _untrained(seed).variables, strict=True):
        variable.assign(start)
    rates.forget(network.optimizer)


def _untrained(seed: int) -> keras.Model:
    backbone = efficientnet_lite0(_SIDE)
    freeze_first_blocks(backbone)
    x = keras.layers.GlobalAveragePooling2D()(backbone.output)
    x = keras.layers.Dropout(0.3, seed=seed)(x)
    return keras.Model(backbone.input, keras.layers.Dense(1, name="front")(x))


def _windows(
    layers: np.ndarray,
    boxes: np.ndarray,
    behind: np.ndarray,
    weights: np.ndarray,
    is_front: np.ndarray,
    widths: tuple[float, float],
    settings: Settings,
    rng: np.random.Generator,
) -> Iterator[tuple]:
    """Endless batches of random windows and their ends."""
    used = np.flatnonzero(weights)
    odds = weights[used] / weights[used].sum()
    while True:
        which = rng.choice(used, settings.batch_size, p=odds)
        other = behind[rng.integers(0, len(behind), len(which))]
        other = np.where(rng.random((len(which), 1, 1, 1)) < 0.3, 0, other).astype(np.uint8)
        squares = cutouts.over(layers[which], other)
        pictures = _cut(squares, _draw_boxes(boxes[which], widths, rng))
        mirrored = rng.random(len(which)) < 0.5
        pictures[mirrored] = pictures[mirrored, :, ::-1]
        pictures = np.clip(cutouts.relit(pictures, 0.15, 0.08, rng), -1.0, 1.0)
        yield pictures.astype(np.float32), is_front[which].astype(np.float32)[:, None]


def _draw_boxes(
    boxes: np.ndarray, widths: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Windows within the object's box, [n, 4]."""
    n = len(boxes)
    height, width = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    tall, wide = height * rng.uniform(*_HEIGHTS, n), width * rng.uniform(*widths, n)
    top = boxes[:, 0] + (height - tall) * rng.random(n)
    left = boxes[:, 1] + (width - wide) * rng.random(n)
    return np.stack([top, left, top + tall, left + wide], axis=1)


def _cut(squares: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Windows as the network sees them: float32 [n, 64, 64, 3] in [-1, 1]."""
    return framing.to_network(cutouts.windows(squares, boxes, _SIDE))


def _ask(
    network: keras.Model, layers: np.ndarray, boxes: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Logits of the front [n], each the mean of several windows on black."""
    scores = np.zeros(len(layers))
    for start in range(0, len(layers), _ASKED):
        part = slice(start, start + _ASKED)
        squares = cutouts.over(layers[part], np.zeros_like(layers[part, ..., :3]))
        for _ in range(_WINDOWS_ASKED):
            windows = _cut(squares, _draw_boxes(boxes[part], _ASKED_WIDTHS, rng))
            scores[part] += network.predict_on_batch(windows)[:, 0]
    return scores / _WINDOWS_ASKED


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-logits))
