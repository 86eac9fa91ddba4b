"""The stages in which a student with ImageNet features learns, each gone on with where it was left.

pseudo-labels on changed backgrounds -> own answers, at last on pictures that are moved little, or
with photos in surroundings
-> with labelled pictures

A small student of a student imitates it instead: its answers to all pictures, photos in
surroundings as well -> the mean of its answers and the own ones, on pictures that are moved little.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ssv_tf.evaluation import calibration
from ssv_tf.models.student import EFFICIENTNET
from ssv_tf.training import (
    anchors,
    directions,
    ends,
    own_answers,
    rates,
    scenes,
    self_training,
    student_run,
)
from ssv_tf.training.self_training import Rounds
from ssv_tf.training.student_pictures import on_grey

_APART = 1 << 32  # in steps, of two feeds of one seed that must not draw alike
_OF_SCENES = Rounds(3, 600)
_OF_ANCHORS = Rounds(2, 300, 3e-4)
_LAST_ROUND = 2  # of the photos in surroundings: most of them join
# Layers, their labels, and the odds of each to be drawn; None: all alike.
Pool: TypeAlias = tuple[np.ndarray, self_training.PseudoLabels, np.ndarray | None]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the student is made.

    Attributes:
      backbone: one of `models.student.FROM_IMAGENET`.
      resolution: side of its pictures in pixels.
      steps: of the student, above a hundred rounded up to whole hundreds.
      batch_size: pictures a step.
      rate: AdamW's highest learning rate.
      seed: of everything random.
      end_learning: how front and rear are learnt first; `rounds=0` leaves them as V has them.
        None: rounds of a third of `steps`.
      own_learning: how the student goes on with its own answers, where there are no photos in
        surroundings. None: a round of half of `steps`.
      last_learning: how it goes on with its own answers after that, on pictures that are moved and
        zoomed a third as much; it ends with the mean of the weights after each of these rounds.
        None: two rounds of `steps` where azimuth has a limited range, or the student imitates;
        others do not, as it would take them as long as all before.
      scene_learning: how the student goes on with photos in surroundings.
      front_share: share of these photos that show the front half of the object, 0.2 to 0.8; where
        there are none and the teacher is a student, of its pictures.
      anchor_learning: how the student goes on with labelled pictures.
    """

    backbone: str = EFFICIENTNET
    resolution: int = 64
    steps: int = 1200
    batch_size: int = 32
    rate: float = 1e-3
    seed: int = 0
    end_learning: ends.Settings | None = None
    own_learning: Rounds | None = None
    last_learning: Rounds | None = None
    scene_learning: Rounds = _OF_SCENES
    front_share: float = 0.5
    anchor_learning: Rounds = _OF_ANCHORS

    @property
    def of_ends(self) -> ends.Settings:
        """How front and rear are learnt."""
        return self.end_learning or ends.Settings(steps=max(1, self.steps // 3))

    @property
    def of_own(self) -> Rounds:
        """How the student goes on with its own answers."""
        return self.own_learning or Rounds(1, max(1, self.steps // 2))

    def of_last(self, limited: bool) -> Rounds:
        """How a student that does not imitate goes on after that; `limited`: azimuth's range."""
        return self.last_learning or Rounds(2 if limited else 0, self.steps)

    @property
    def of_imitation(self) -> Rounds:
        """How one that imitates goes on after its teacher's answers."""
        return self.last_learning or Rounds(2, self.steps, self.rate)


@dataclasses.dataclass(frozen=True)
class Fit:
    """What all stages of a student's training share.

    Attributes:
      student: StudentNetwork.
      mirror: half of the pictures are mirrored.
      within_deg: an azimuth as near to its pseudo-label counts as right, for the confidence.
    """

    student: Any
    settings: Settings
    behind: np.ndarray
    mirror: bool
    within_deg: float
    quiet: bool

    def batches(
        self,
        layers: np.ndarray,
        labels: self_training.PseudoLabels,
        step: int,
        share: float = 1.0,
        odds: np.ndarray | None = None,
        little: bool = False,
    ) -> Iterator:
        """Endless batches from `step` on, of a share of the batch size."""
        settings = self.settings
        size = max(1, round(share * settings.batch_size))
        return self_training.batches(
            layers, labels, self.behind, settings.resolution, size, self.mirror, settings.seed,
            step, odds, little,
        )  # fmt: skip

    def joined(
        self,
        pools: Sequence[Pool],
        shares: Sequence[float],
        first_step: int,
        little: bool = False,
    ) -> Callable[[int], Iterator]:
        """Batches of several pools (layers, labels, odds), each of its share of the batch size."""

        def feed(step: int) -> Iterator:
            parts = [
                self.batches(layers, labels, first_step + step + i * _APART, share, odds, little)
                for i, ((layers, labels, odds), share) in enumerate(zip(pools, shares, strict=True))
            ]
            return functools.reduce(scenes.joined, parts)

        return feed

    def __call__(
        self, feed: Callable[[int], Iterator], steps: int, rate: float, backup_dir: Path
    ) -> None:
        """Trains for `steps`, or goes on where `backup_dir` left; `feed` takes the first step."""
        rates.forget(self._model.optimizer)
        self._model._initial_epoch = None  # where BackupAndRestore had an earlier stage go on
        done = student_run.epochs_done(backup_dir) * student_run.STEPS_AN_EPOCH
        generators = (self.student.dropout.seed_generator,)
        self._model.fit(
            feed(done),
            epochs=-(-steps // student_run.STEPS_AN_EPOCH),
            steps_per_epoch=min(student_run.STEPS_AN_EPOCH, steps),
            shuffle=False,
            verbose=0 if self.quiet else 2,
            callbacks=student_run.callbacks(
                backup_dir, generators, self.settings.seed, steps, rate
            ),
        )

    @functools.cached_property
    def _model(self) -> self_training.SelfTraining:
        """Compiled once for all stages; what is trainable is settled before the first."""
        model = self_training.SelfTraining(self.student, self.within_deg)
        model.build()
        model.compile(student_run.optimizer(model.trainable_weights))
        return model


@dataclasses.dataclass(frozen=True)
class Data:
    """What a student learns from.

    Attributes:
      layers: uint8 [n, S, S, 4].
      in_scenes: photos in surroundings, uint8 [m, S, S, 4], or None.
      known: labelled pictures, or None.
      labels: pseudo-labels of `layers`; None for a student that goes on.
      chosen: indices of `layers` that it learns from; it is compared on the others.
      differences: gives what `layers` and their mirror images do not share, [n, k]
        (`directions.differences`).
      imitated: whether `labels` are a student's, to be learnt as they are.
      scene_labels: the same student's of `in_scenes`, or None.
    """

    layers: np.ndarray
    in_scenes: np.ndarray | None
    known: anchors.Anchors | None
    labels: self_training.PseudoLabels | None
    chosen: np.ndarray
    differences: Callable[[], np.ndarray]
    imitated: bool = False
    scene_labels: self_training.PseudoLabels | None = None

    @functools.cached_property
    def learnt_layers(self) -> np.ndarray:
        """Those of `layers` that it learns from; a copy, and so made once."""
        return self.layers[self.chosen]

    @functools.cached_property
    def scene_squares(self) -> np.ndarray:
        """The photos in surroundings as the student's framing shows them, uint8 [m, R, R, 3]."""
        assert self.in_scenes is not None
        return on_grey(self.in_scenes, self.in_scenes.shape[1] // 2)

    @functools.cached_property
    def scene_differences(self) -> np.ndarray:
        """What the photos in surroundings and their mirror images do not share, [m, k]."""
        assert self.in_scenes is not None
        return directions.differences(self.in_scenes)


def train(fit: Fit, data: Data, kind: str, unfinished_dir: Path) -> self_training.PseudoLabels:
    """All stages; one that is finished already only gives back its weights.

    Args:
      fit: the student and how it learns.
      data: the pictures.
      kind: of the azimuth's calibration.
      unfinished_dir: where an interrupted call left its state.

    Returns:
      what the student was to say to all pictures, [n].
    """
    settings = fit.settings
    wanted = data.labels
    ends.freeze_first_blocks(fit.student.backbone)
    if wanted is not None and data.imitated:
        _imitate(fit, data, wanted[data.chosen], unfinished_dir)
    elif wanted is not None:
        labels = wanted[data.chosen]
        feed = fit.joined([(data.learnt_layers, labels, None)], [1.0], 0)
        fit(feed, settings.steps, settings.rate, unfinished_dir)
        if data.in_scenes is not None:
            for number in range(settings.scene_learning.rounds):
                try:
                    _go_on(fit, data, number, unfinished_dir)
                except ValueError as error:
                    print(f"warning: the photos of `scenes` teach nothing: {error}", flush=True)
                    break
        else:
            limited = kind == calibration.LINEAR
            own, last, last_weights = settings.of_own, settings.of_last(limited), []
            for number in range(own.rounds + last.rounds):
                _learn_own_answers(fit, data, labels, number, limited, unfinished_dir)
                if number >= own.rounds:
                    last_weights.append(fit.student.get_weights())
            if last_weights:
                fit.student.set_weights(self_training.mean_weights(last_weights))
    if data.known is not None:
        wanted = _anchor(fit, data, kind, unfinished_dir)
    fit.student.backbone.trainable = True
    assert wanted is not None  # a student goes on with anchors alone
    return wanted


def _imitate(
    fit: Fit, data: Data, labels: self_training.PseudoLabels, unfinished_dir: Path
) -> None:
    """The teacher's answers to all pictures; then, moved little, the mean of both networks'."""
    settings, last, weights = fit.settings, fit.settings.of_imitation, []
    pools: list[Pool] = [(data.learnt_layers, labels, None)]
    if data.in_scenes is not None and data.scene_labels is not None:
        pools.append((data.in_scenes, data.scene_labels, None))
    shares = [1.0 / len(pools)] * len(pools)
    fit(fit.joined(pools, shares, 0), settings.steps, settings.rate, unfinished_dir)
    for number in range(last.rounds):
        between: list[Pool] = [
            (layers, own_answers.averaged(_answers(fit, layers), teachers), None)
            for layers, teachers, _ in pools
        ]
        first_step = settings.steps + number * last.steps
        feed = fit.joined(between, shares, first_step, little=True)
        fit(feed, last.steps, last.rate, unfinished_dir / f"last-{number + 1}")
        weights.append(fit.student.get_weights())
    if weights:
        fit.student.set_weights(self_training.mean_weights(weights))


def _answers(fit: Fit, layers: np.ndarray) -> self_training.PseudoLabels:
    """The student's own, each averaged with the mirror image's."""
    squares = on_grey(layers, fit.student.resolution)
    return self_training.pseudo_labels(fit.student, squares, fit.mirror)


def _learn_own_answers(
    fit: Fit,
    data: Data,
    first: self_training.PseudoLabels,
    number: int,
    limited: bool,
    unfinished_dir: Path,
) -> None:
    """A round with the student's own answers to the pictures whose `first` labels it learnt."""
    own, last = fit.settings.of_own, fit.settings.of_last(limited)
    answers = _answers(fit, data.learnt_layers)
    if limited:  # there is one end, and a sign of the azimuth that V knows
        labels = own_answers.averaged(answers, first)
    else:
        labels = own_answers.settled(answers, first, data.differences()[data.chosen])
    rounds = [own] * own.rounds + [last] * last.rounds
    how, little = rounds[number], number >= own.rounds
    first_step = fit.settings.steps + sum(done.steps for done in rounds[:number])
    feed = fit.joined([(data.learnt_layers, labels, None)], [1.0], first_step, little)
    fit(feed, how.steps, how.rate, unfinished_dir / f"own-{number + 1}")


def _go_on(fit: Fit, data: Data, number: int, unfinished_dir: Path) -> None:
    """A round with photos in surroundings.

    Raises:
      ValueError: they show no two ends.
    """
    settings, how = fit.settings, fit.settings.scene_learning
    assert data.labels is not None and data.in_scenes is not None
    answers = self_training.pseudo_labels(fit.student, data.scene_squares, fit.mirror)
    answers = directions.with_directions(
        data.scene_differences, answers, "the student", trusted=directions.TRUSTED_STUDENT
    )
    odds, settled = scenes.confident_ends(answers, settings.front_share, number)

    first_step = settings.steps + number * how.steps
    pools: list[Pool] = [
        (data.learnt_layers, data.labels[data.chosen], None), (data.in_scenes, settled, odds)
    ]  # fmt: skip
    feed = fit.joined(pools, (0.5, 0.5), first_step)
    fit(feed, how.steps, how.rate, unfinished_dir / f"scenes-{number + 1}")


def _anchor(fit: Fit, data: Data, kind: str, unfinished_dir: Path) -> self_training.PseudoLabels:
    """The rounds with labelled pictures; what the student said to all pictures before them."""
    how, student, known = fit.settings.anchor_learning, fit.student, data.known
    assert known is not None
    squares = on_grey(data.layers, student.resolution)
    before, weights = None, student.get_weights()
    for number in range(how.rounds):
        fitted = anchors.fit(student, known, kind)
        labels = anchors.answers(student, squares, fit.mirror, fitted)
        before = before or labels
        targets = anchors.targets(student, known, fit.mirror, fitted)
        pools: list[Pool] = [
            (data.learnt_layers, labels[data.chosen], None), (known.layers, targets, None)
        ]  # fmt: skip
        shares = [1.0 - anchors.SHARE, anchors.SHARE]
        if data.in_scenes is not None:
            pools.append((data.in_scenes, *_settled_scenes(fit, data.scene_squares, fitted)))
            shares = [shares[0] / 2.0, anchors.SHARE, shares[0] / 2.0]
        before_steps = _steps_before(fit.settings, kind == calibration.LINEAR)
        feed = fit.joined(pools, shares, before_steps + number * how.steps)
        fit(feed, how.steps, how.rate, unfinished_dir / f"anchors-{number + 1}")
    student.set_weights(self_training.mean_weights([weights, student.get_weights()]))
    assert before is not None
    return before


def _settled_scenes(
    fit: Fit, squares: np.ndarray, fitted: calibration.Calibration
) -> tuple[self_training.PseudoLabels, np.ndarray | None]:
    """The student's answers to photos in surroundings, and the odds of each to be drawn."""
    answers = anchors.answers(fit.student, squares, fit.mirror, fitted)
    try:
        odds, settled = scenes.confident_ends(answers, fit.settings.front_share, _LAST_ROUND)
    except ValueError:  # no two ends to settle: as they are
        return answers, None
    return settled, odds


def _steps_before(settings: Settings, limited: bool) -> int:
    """Steps of the stages before the anchors' at most, so that no two batches draw alike."""
    own, last, of_scenes = settings.of_own, settings.of_last(limited), settings.scene_learning
    of_own = own.rounds * own.steps + last.rounds * last.steps
    return settings.steps + max(of_own, of_scenes.rounds * of_scenes.steps)
