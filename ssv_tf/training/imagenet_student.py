"""Trains a student that starts from ImageNet features, and writes its run folder.

    V's pseudo-labels -> which end is seen (full circle) -> student on changed backgrounds

No label is read. What an interrupted call of the same settings left is gone on with.
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import cutouts, folder, read_policy, sources
from ssv_tf.data.reading import BadPicture
from ssv_tf.evaluation import calibration, confidence
from ssv_tf.training import ends, run_folder, self_training, student_run
from ssv_tf.training.student_run import Source

if TYPE_CHECKING:
    from ssv_tf.models.analysis import AnalysisNetwork
    from ssv_tf.models.student import StudentNetwork

RESOLUTIONS = (64, 96, 128)
_ENDS = "ends.npy"
_MOST_BEHIND = 2000  # pictures kept to be put behind cut-outs


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
    """

    resolution: int = 64
    steps: int = 1200
    batch_size: int = 32
    rate: float = 1e-3
    seed: int = 0
    end_learning: ends.Settings = dataclasses.field(default_factory=ends.Settings)


def distill(
    run: run_folder.Run,
    out: Path,
    settings: Settings,
    source: Source,
    backgrounds: str = "",
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
      overwrite: remove what `out` holds first.
      quiet: no progress.

    Returns:
      what `distill.json` holds, as `student_run.distill`.

    Raises:
      UserError: settings that do not fit the run, bad data, a folder of something else.
    """
    source = _check(run, settings, source)
    made_with = {
        "teacher": run.preset or run.path.name,
        "backbone": "efficientnet_lite0",
        **dataclasses.asdict(settings),
    }
    student_run.check_folder(out, made_with, overwrite)
    behind = _backgrounds(backgrounds, 2 * settings.resolution) if backgrounds else None
    pictures = _load(run, settings, source)
    if behind is None:
        behind = np.ascontiguousarray(pictures.layers[:_MOST_BEHIND, ..., :3])
    teacher = run.analysis()
    labels = self_training.pseudo_labels(
        teacher, pictures.squares, run.options.pictures.mirror_data
    )
    try:
        unfinished_dir = student_run.prepare(out, made_with, overwrite)
        labels = _with_ends(run, labels, pictures.layers, behind, settings, unfinished_dir, quiet)
        train, held_out = student_run.split(len(pictures.layers), settings.seed)
        student = _fit(
            run, teacher, settings, pictures.layers, labels, train, behind, unfinished_dir, quiet
        )
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror or error}") from error
    record = made_with | {
        "pictures": len(train),
        "parameters": student.count_params(),
        "teacher_distance": _distance(student, labels, pictures.layers, held_out),
    }
    framing = cutouts.framing(settings.resolution).to_dict()
    options = run.options.replace(
        data=source.data_dir, where=source.where, limit=source.limit, labels="", **framing
    )
    student_run.write_run(run, out, student, options, record)
    return record


def _check(run: run_folder.Run, settings: Settings, source: Source) -> Source:
    """The source, with the run's own folder where none is given; an error for what cannot be."""
    if settings.resolution not in RESOLUTIONS:
        raise SettingError(f"`resolution={settings.resolution}` is none of {RESOLUTIONS}")
    if run.student:
        raise UserError(f"{run.path} is a student itself; give its teacher, {run.student}")
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
    data_dir = source.data_dir
    asked = run.options.pictures
    table = asked.labels if data_dir == asked.data else ""
    only = sources.selected_names(data_dir, source.where, table)
    paths, skipped = folder.choose_paths(data_dir, only, source.limit or None)
    squares: list[np.ndarray] = []
    layers: list[np.ndarray] = []

    def read(path: Path) -> tuple[np.ndarray, np.ndarray] | BadPicture:
        try:
            return framing.read(path), cutouts.layer(path, 2 * settings.resolution)
        except BadPicture as error:
            return error

    results = folder.in_threads(read, paths.values(), None)
    for name, loaded in zip(paths, results, strict=True):
        if isinstance(loaded, BadPicture):
            skipped.append((name, str(loaded)))
        else:
            squares.append(loaded[0])
            layers.append(loaded[1])
    read_policy.report_skipped(skipped, data_dir, len(layers))
    if len(layers) < 2:
        raise UserError(f"{data_dir} has {len(layers)} usable pictures; a student needs two")
    return _Pictures(np.stack(squares), np.stack(layers))


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


def _fit(
    run: run_folder.Run,
    teacher: "AnalysisNetwork",
    settings: Settings,
    layers: np.ndarray,
    labels: self_training.PseudoLabels,
    train: np.ndarray,
    behind: np.ndarray,
    unfinished_dir: Path,
    quiet: bool,
) -> "StudentNetwork":
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
    ends.freeze_first_blocks(student.backbone)
    limited = calibration.azimuth_kind(run.options) == calibration.LINEAR
    model = self_training.SelfTraining(student, confidence.within_deg(limited))
    model.build()
    model.compile(optimizer=student_run.optimizer(settings.steps, settings.rate))
    done = student_run.epochs_done(unfinished_dir) * student_run.STEPS_AN_EPOCH
    train_labels = self_training.PseudoLabels(labels.magnitudes[train], labels.quadrants[train])
    feed = self_training.batches(
        layers[train], train_labels, behind, settings.resolution, settings.batch_size,
        run.options.pictures.mirror_data, settings.seed, done,
    )  # fmt: skip
    model.fit(
        feed,
        epochs=-(-settings.steps // student_run.STEPS_AN_EPOCH),
        steps_per_epoch=min(student_run.STEPS_AN_EPOCH, settings.steps),
        shuffle=False,
        verbose=0 if quiet else 2,
        callbacks=[keras.callbacks.BackupAndRestore(str(unfinished_dir), delete_checkpoint=False)],
    )
    student.backbone.trainable = True
    return student


def _distance(
    student: Any, labels: self_training.PseudoLabels, layers: np.ndarray, held_out: np.ndarray
) -> dict:
    """How far the student answers from its pseudo-labels on pictures it did not learn from."""
    from ssv_tf.models import inference

    held_out_layers = layers[held_out]
    grey = np.full_like(held_out_layers[..., :3], 128)
    squares = student_run.shrunk(cutouts.over(held_out_layers, grey), student.resolution)
    student_deg = inference.decode(inference.predict(student, squares)).degrees
    target_deg = labels.angles_deg(student.encoding)[held_out]
    return student_run.distances(student_deg, target_deg)
