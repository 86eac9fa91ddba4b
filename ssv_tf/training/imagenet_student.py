"""Trains a student that starts from ImageNet features, and writes its run folder.

    V's pseudo-labels -> which end is seen (full circle) -> student on changed backgrounds
    -> the same with photos in surroundings, which it labels itself (if there are any)

No label is read. What an interrupted call of the same settings left is gone on with.
"""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import cutouts, folder, read_policy, sources
from ssv_tf.data.reading import BadPicture
from ssv_tf.evaluation import calibration, confidence
from ssv_tf.training import ends, run_folder, scenes, self_training, student_run
from ssv_tf.training.student_run import Source

if TYPE_CHECKING:
    from ssv_tf.models.analysis import AnalysisNetwork
    from ssv_tf.models.student import StudentNetwork

RESOLUTIONS = (64, 96, 128)
_ENDS = "ends.npy"
_MOST_BEHIND = 2000  # pictures kept to be put behind cut-outs
_APART = 1 << 32  # in steps, of two feeds of one seed that must not draw alike


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the student is made.

    Attributes:
      resolution: side of its pictures in pixels.
      steps: of the student, above a hundred rounded up to whole hundreds.
      batch_size: pictures a step.
      rate: AdamW's highest learning rate.
      seed: of everything random.
      end_learning: how front and rear are learnt first; `rounds=0` leaves them as V has them.
      scene_learning: how the student goes on with photos in surroundings.
      front_share: share of these photos that show the front half of the object, 0.2 to 0.8.
    """

    resolution: int = 64
    steps: int = 1200
    batch_size: int = 32
    rate: float = 1e-3
    seed: int = 0
    end_learning: ends.Settings = dataclasses.field(default_factory=ends.Settings)
    scene_learning: scenes.Settings = dataclasses.field(default_factory=scenes.Settings)
    front_share: float = 0.5


def distill(
    run: run_folder.Run,
    out: Path,
    settings: Settings,
    source: Source,
    backgrounds: str = "",
    scenes_dir: str = "",
    overwrite: bool = False,
    quiet: bool = False,
) -> dict:
    """Trains the student and writes its run folder.

    Args:
      run: the teacher's.
      out: the folder.
      settings: how.
      source: a folder of unlabelled pictures, such as the teacher was trained on.
      backgrounds: folder of any pictures to put behind cut-outs; empty: the collection's own.
      scenes_dir: folder of more unlabelled photos of such objects, in their surroundings, which
        the student goes on with (`training.scenes`); empty: none.
      overwrite: remove what `out` holds first.
      quiet: no progress.

    Returns:
      what `distill.json` holds, as `student_run.distill`.

    Raises:
      UserError: settings that do not fit the run, bad data, a folder of something else.
    """
    source = _check(run, settings, source)
    made_with = _made_with(run, settings, backgrounds, scenes_dir)
    student_run.check_folder(out, made_with, overwrite)
    behind = _backgrounds(backgrounds, 2 * settings.resolution) if backgrounds else None
    in_scenes = _load_scenes(scenes_dir, 2 * settings.resolution) if scenes_dir else None
    pictures = _load(run, settings, source)
    if behind is None:
        behind = np.ascontiguousarray(pictures.layers[:_MOST_BEHIND, ..., :3])
    mirror = run.options.pictures.mirror_data
    teacher = run.analysis()
    labels = self_training.pseudo_labels(teacher, pictures.squares, mirror)
    try:
        unfinished_dir = student_run.prepare(out, made_with, overwrite)
        labels = _with_ends(run, labels, pictures.layers, behind, settings, unfinished_dir, quiet)
        train, held_out = student_run.split(len(pictures.layers), settings.seed)
        student = _student(teacher, settings)
        limited = calibration.azimuth_kind(run.options) == calibration.LINEAR
        fit = _Fit(student, settings, behind, mirror, confidence.within_deg(limited), quiet)
        _train(fit, pictures.layers[train], labels[train], in_scenes, unfinished_dir)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror or error}") from error
    record = made_with | {
        "pictures": len(train) + (0 if in_scenes is None else len(in_scenes)),
        "parameters": student.count_params(),
        "teacher_distance": _distance(student, labels, pictures.layers, held_out),
    }
    framing = cutouts.framing(settings.resolution).to_dict()
    options = run.options.replace(
        data=source.data_dir, where=source.where, limit=source.limit, labels="", **framing
    )
    student_run.write_run(run, out, student, options, record)
    return record


def _made_with(
    run: run_folder.Run, settings: Settings, backgrounds: str, scenes_dir: str
) -> dict[str, Any]:
    """What a student must agree in to be gone on with: settings, and folders by name."""
    made_with = {
        "teacher": run.preset or run.path.name,
        "backbone": "efficientnet_lite0",
        **dataclasses.asdict(settings),
        "backgrounds": Path(backgrounds).name,
        "scenes": Path(scenes_dir).name,
    }
    if not scenes_dir:
        del made_with["scene_learning"], made_with["front_share"]
    return made_with


def _check(run: run_folder.Run, settings: Settings, source: Source) -> Source:
    """The source, with the run's own folder where none is given; an error for what cannot be."""
    if settings.resolution not in RESOLUTIONS:
        raise SettingError(f"`resolution={settings.resolution}` is none of {RESOLUTIONS}")
    if run.student:
        raise UserError(f"{run.path} is a student itself; give its teacher, {run.student}")
    if not 0.2 <= settings.front_share <= 0.8:
        raise SettingError(f"`front_share={settings.front_share}` is not within 0.2 to 0.8")
    if source.data_dir:
        return source
    asked = run.options.pictures
    if not Path(asked.data).is_dir():
        raise SettingError(
            f"{asked.data} is no folder of pictures; give one with `data_dir=FOLDER`: they are "
            "read at two sizes"
        )
    return Source(asked.data, asked.where, asked.limit)


@dataclasses.dataclass(frozen=True)
class _Pictures:
    """The same pictures as the teacher sees them, and as layers for the student."""

    squares: np.ndarray  # uint8 [n, r, r, 3]
    layers: np.ndarray  # uint8 [n, 2 R, 2 R, 4]


def _load(run: run_folder.Run, settings: Settings, source: Source) -> _Pictures:
    """Reads every picture once, for teacher and student; names and counts what cannot be read."""
    framing = run.options.framing
    asked = run.options.pictures
    table = asked.labels if source.data_dir == asked.data else ""

    def read(path: Path) -> tuple[np.ndarray, ...]:
        return framing.read(path), cutouts.layer(path, 2 * settings.resolution)

    return _Pictures(*_read_folder(source, table, read))


def _load_scenes(folder_path: str, side: int) -> np.ndarray:
    """Layers of all photos of a folder, uint8 [n, side, side, 4]; errors as `_read_folder`."""
    return _read_folder(Source(folder_path), "", lambda path: (cutouts.layer(path, side),))[0]


def _read_folder(
    source: Source, table: str, read: Callable[[Path], tuple[np.ndarray, ...]]
) -> list[np.ndarray]:
    """What `read` makes of each chosen picture, stacked; bad ones are named and counted.

    Raises:
      UserError: fewer than two usable pictures.
    """
    data_dir = source.data_dir
    only = sources.selected_names(data_dir, source.where, table)
    paths, skipped = folder.choose_paths(data_dir, only, source.limit or None)
    good: list[tuple[np.ndarray, ...]] = []

    def tried(path: Path) -> tuple[np.ndarray, ...] | BadPicture:
        try:
            return read(path)
        except BadPicture as error:
            return error

    results = folder.in_threads(tried, paths.values(), None)
    for name, loaded in zip(paths, results, strict=True):
        if isinstance(loaded, BadPicture):
            skipped.append((name, str(loaded)))
        else:
            good.append(loaded)
    read_policy.report_skipped(skipped, data_dir, len(good))
    if len(good) < 2:
        raise UserError(f"{data_dir} has {len(good)} usable pictures; a student needs two")
    return [np.stack(arrays) for arrays in zip(*good, strict=True)]


def _backgrounds(folder_path: str, side: int) -> np.ndarray:
    """Pictures to put behind cut-outs, uint8 [m, side, side, 3]; errors as `folder.load_folder`."""
    return folder.load_folder(
        folder_path, side, crop="height", canvas_heights=1.0, limit=_MOST_BEHIND
    ).images


def _with_ends(
    run: run_folder.Run,
    labels: self_training.PseudoLabels,
    layers: np.ndarray,
    behind: np.ndarray,
    settings: Settings,
    unfinished_dir: Path,
    quiet: bool,
) -> self_training.PseudoLabels:
    """The pseudo-labels with the ends learnt anew, where azimuth covers the full circle."""
    limited = calibration.azimuth_kind(run.options) == calibration.LINEAR
    how = settings.end_learning
    if limited or not how.rounds:
        return labels
    path = unfinished_dir / _ENDS
    if path.is_file():
        front = np.load(path, allow_pickle=False)
        if front.shape == (len(layers),):
            return labels.with_front(front)
    say = (lambda text: None) if quiet else (lambda text: print(text, flush=True))
    try:
        front = ends.learn_ends(
            layers, labels.slant_deg, labels.front, behind, how, settings.seed, say
        )
    except ValueError as error:
        print(f"warning: front and rear stay as the teacher has them: {error}", flush=True)
        return labels
    np.save(path, front, allow_pickle=False)
    return labels.with_front(front)


def _student(teacher: "AnalysisNetwork", settings: Settings) -> "StudentNetwork":
    import keras

    from ssv_tf.models.student import EFFICIENTNET, StudentNetwork

    keras.utils.set_random_seed(settings.seed)
    student = StudentNetwork(
        resolution=settings.resolution,
        backbone=EFFICIENTNET,
        weights="imagenet",
        centre_rad=teacher.encoding.centre_rad,
        stretch=teacher.encoding.stretch,
    )
    student.build()
    return student


@dataclasses.dataclass(frozen=True)
class _Fit:
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
    ) -> Iterator:
        """Endless batches from `step` on, of a share of the batch size."""
        settings = self.settings
        size = max(1, round(share * settings.batch_size))
        return self_training.batches(
            layers, labels, self.behind, settings.resolution, size, self.mirror, settings.seed,
            step, odds,
        )  # fmt: skip

    def __call__(
        self, feed: Callable[[int], Iterator], steps: int, rate: float, backup_dir: Path
    ) -> None:
        """Trains for `steps`, or goes on where `backup_dir` left; `feed` takes the first step."""
        model = self_training.SelfTraining(self.student, self.within_deg)
        model.build()
        model.compile(student_run.optimizer(steps, rate, model.trainable_weights))
        done = student_run.epochs_done(backup_dir) * student_run.STEPS_AN_EPOCH
        generators = (self.student.dropout.seed_generator,)
        model.fit(
            feed(done),
            epochs=-(-steps // student_run.STEPS_AN_EPOCH),
            steps_per_epoch=min(student_run.STEPS_AN_EPOCH, steps),
            shuffle=False,
            verbose=0 if self.quiet else 2,
            callbacks=student_run.callbacks(backup_dir, generators, self.settings.seed),
        )


def _train(
    fit: _Fit,
    layers: np.ndarray,
    labels: self_training.PseudoLabels,
    in_scenes: np.ndarray | None,
    unfinished_dir: Path,
) -> None:
    """All stages; one that is finished already only gives back its weights."""
    settings = fit.settings
    ends.freeze_first_blocks(fit.student.backbone)
    fit(
        lambda step: fit.batches(layers, labels, step), settings.steps, settings.rate,
        unfinished_dir,
    )  # fmt: skip
    if in_scenes is not None:
        squares = _on_grey(in_scenes, settings.resolution)
        for number in range(settings.scene_learning.rounds):
            try:
                _go_on(fit, layers, labels, in_scenes, squares, number, unfinished_dir)
            except ValueError as error:
                print(f"warning: the photos of `scenes` teach nothing: {error}", flush=True)
                break
    fit.student.backbone.trainable = True


def _go_on(
    fit: _Fit,
    layers: np.ndarray,
    labels: self_training.PseudoLabels,
    in_scenes: np.ndarray,
    squares: np.ndarray,
    number: int,
    unfinished_dir: Path,
) -> None:
    """A round with photos in surroundings, as layers and as the student's framing shows them.

    Raises:
      ValueError: they show no two ends.
    """
    settings, how = fit.settings, fit.settings.scene_learning
    answers = self_training.pseudo_labels(fit.student, squares, fit.mirror)
    odds, settled = scenes.confident_ends(answers, settings.front_share, number)

    def feed(step: int) -> Iterator:
        step += settings.steps + number * how.steps
        return scenes.joined(
            fit.batches(layers, labels, step, 0.5),
            fit.batches(in_scenes, settled, step + _APART, 0.5, odds),
        )

    fit(feed, how.steps, how.rate, unfinished_dir / f"scenes-{number + 1}")


def _on_grey(layers: np.ndarray, resolution: int) -> np.ndarray:
    """Layers as the student's framing shows them: uint8 [n, R, R, 3]."""
    grey = np.full_like(layers[..., :3], 128)
    return student_run.shrunk(cutouts.over(layers, grey), resolution)


def _distance(
    student: Any, labels: self_training.PseudoLabels, layers: np.ndarray, held_out: np.ndarray
) -> dict:
    """How far the student answers from its pseudo-labels on pictures it did not learn from."""
    from ssv_tf.models import inference

    squares = _on_grey(layers[held_out], student.resolution)
    student_deg = inference.decode(inference.predict(student, squares)).degrees
    target_deg = labels.angles_deg(student.encoding)[held_out]
    return student_run.distances(student_deg, target_deg)
