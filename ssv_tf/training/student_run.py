"""Trains a student of a run and writes the student's own run folder.

No label is read. What an interrupted call of the same settings left is gone on with.
"""

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from ssv_tf import config, viewpoint
from ssv_tf.base import files
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.evaluation import calibration as calibrations
from ssv_tf.training import run_folder

if TYPE_CHECKING:
    import keras

    from ssv_tf.models.analysis import AnalysisNetwork
    from ssv_tf.models.student import StudentNetwork
    from ssv_tf.models.synthesis import SynthesisNetwork

RECORD = "distill.json"
IN_MEMORY = "pictures in memory"
RESOLUTIONS = (32, 64, 128)

STEPS_AN_EPOCH = 100
_HELD_OUT, _HELD_OUT_SHARE = 500, 0.1
_WARM_UP_SHARE = 0.05
_WEIGHT_DECAY = 1e-4
_UNFINISHED = ".unfinished"


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a student is made; flags of the same names."""

    resolution: int = 64
    width: float = 1.0
    steps: int = 4000
    batch_size: int = 32
    drawn_share: float = 0.25
    mirror_weight: float = 0.1
    rate: float = 2e-3
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Source:
    """Unlabelled pictures to learn on.

    Attributes:
      data_dir: a folder; empty: what the run was trained on.
      where: which of its pictures, by its labels.csv (`labels.parse_condition`; no angle is read).
      limit: at most this many; 0: all.
    """

    data_dir: str = ""
    where: str = ""
    limit: int = 0


def distill(
    run: run_folder.Run,
    out: Path,
    settings: Settings,
    source: Source = Source(),
    overwrite: bool = False,
    quiet: bool = False,
    images: np.ndarray | None = None,
) -> dict:
    """Trains a student and writes its run folder.

    Args:
      run: the teacher's, which may be a student itself; then no S draws.
      out: the folder; one that an interrupted call of the same settings left is gone on with.
      settings: how.
      source: the pictures.
      overwrite: remove what `out` holds first.
      quiet: no progress bar.
      images: the pictures in memory, uint8 [n, R, R, 3] of the student's size; before `source`.

    Returns:
      what `distill.json` holds: settings, teacher, pictures, distance from the teacher in degrees.

    Raises:
      UserError: settings that do not fit the run, bad data, a folder of something else.
    """
    _check(run, settings)
    teacher = run.analysis()
    if _has_no_synthesis(run):
        settings = dataclasses.replace(settings, drawn_share=0.0)
    synthesis = run.synthesis() if settings.drawn_share else None
    made_with = {"teacher": run.preset or run.path.name, **dataclasses.asdict(settings)}
    check_folder(out, made_with, overwrite)
    options = _student_options(run.options, settings, source)
    if images is not None:
        options = options.replace(data=IN_MEMORY, where="", labels="")
    unlabelled = _pictures(options) if images is None else images
    train, held_out = _split(unlabelled, settings.seed)
    student = _train(run, teacher, synthesis, settings, train, out, made_with, overwrite, quiet)
    record = made_with | {
        "pictures": len(train),
        "parameters": student.count_params(),
        "teacher_distance": _distance(student, teacher, held_out),
    }
    if run.anchors:
        record["anchored_on"] = run.anchors
    write_run(run, out, student, options, record)
    return record


def read_record(out: Path) -> dict:
    """What `distill` left in a student's run folder; UserError where it cannot be read."""
    try:
        return json.loads((out / RECORD).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{out / RECORD} cannot be read: {error}") from error


def _check(run: run_folder.Run, settings: Settings) -> None:
    if settings.resolution not in RESOLUTIONS:
        raise SettingError(f"`resolution={settings.resolution}` is none of {RESOLUTIONS}")
    if settings.resolution < run.options.framing.resolution:
        raise SettingError(
            f"`resolution={settings.resolution}` is less than the teacher's "
            f"{run.options.framing.resolution}"
        )


def _has_no_synthesis(run: run_folder.Run) -> bool:
    """Whether the teacher is of a kind that has no S, so that only pictures teach."""
    return bool(run.student) or run.options.pictures.supervised


def check_folder(out: Path, made_with: dict, overwrite: bool) -> None:
    """SettingError unless `out` is free, or a student to go on with or to replace."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    ours = (out / RECORD).is_file() or (out / _UNFINISHED / RECORD).is_file()
    if not ours:
        raise SettingError(f"{out} exists and is no student; give another `out`")
    if overwrite:
        return
    if (out / RECORD).is_file():
        raise SettingError(
            f"{out} holds a student; give `overwrite` to replace it, or another `out`"
        )
    before = json.loads((out / _UNFINISHED / RECORD).read_text())
    changed = [f"{k} was {v!r}" for k, v in before.items() if made_with.get(k) != v]
    if changed:
        raise SettingError(
            f"{out} holds an unfinished student of other settings ({'; '.join(changed)}); give the "
            "same settings to go on, `overwrite` to start anew, or another `out`"
        )


def _student_options(options: config.Options, settings: Settings, source: Source) -> config.Options:
    """The teacher's options as the student's pictures need them."""
    changes: dict = {"resolution": settings.resolution}
    if source.data_dir:
        changes |= {"data": source.data_dir, "where": source.where, "labels": ""}
    if source.limit:
        changes["limit"] = source.limit
    return options.replace(**changes)


def _pictures(options: config.Options) -> np.ndarray:
    from ssv_tf.training import loop

    table = options.pictures.labels if options.pictures.where else ""
    unlabelled = options.replace(supervised=False, labels=table, stream="")
    try:
        images = loop.load_training_pictures(unlabelled).images
    except SettingError:
        raise
    except UserError as error:
        raise UserError(f"{error}; `data_dir=FOLDER` gives other pictures") from error
    assert isinstance(images, np.ndarray)  # whole in memory, as nothing is streamed
    return images


def _split(images: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures to learn on, and some to compare on."""
    if len(images) < 2:
        raise UserError("one picture is too few to learn on")
    train, held_out = split(len(images), seed)
    return images[train], images[held_out]


def split(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the pictures to learn on, and of those to compare on, both sorted."""
    held_out = max(1, min(_HELD_OUT, int(count * _HELD_OUT_SHARE)))
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def _train(
    run: run_folder.Run,
    teacher: "AnalysisNetwork",
    synthesis: "SynthesisNetwork | None",
    settings: Settings,
    images: np.ndarray,
    out: Path,
    made_with: dict,
    overwrite: bool,
    quiet: bool,
) -> "StudentNetwork":
    import keras

    from ssv_tf.data import batches
    from ssv_tf.evaluation import confidence
    from ssv_tf.models.student import StudentNetwork
    from ssv_tf.training.distillation import Distiller

    keras.utils.set_random_seed(settings.seed)
    encoding = teacher.encoding
    student = StudentNetwork(
        resolution=settings.resolution,
        width=settings.width,
        centre_rad=encoding.centre_rad,
        stretch=encoding.stretch,
    )
    student.build()
    drawn = round(settings.drawn_share * settings.batch_size)
    options = run.options
    limited = calibrations.azimuth_kind(options) == calibrations.LINEAR
    distiller = Distiller(
        student=student,
        teacher=teacher,
        synthesis=synthesis,
        viewpoints=options.viewpoints,
        mirror_data=options.pictures.mirror_data,
        augment_strength=options.method.augment,
        right_within_deg=confidence.within_deg(limited),
        drawn=drawn,
        mirror_weight=settings.mirror_weight,
        seed=settings.seed,
    )
    distiller.build()
    distiller.compile(optimizer(distiller.trainable_weights))
    epochs = -(-settings.steps // STEPS_AN_EPOCH)
    try:
        unfinished_dir = prepare(out, made_with, overwrite)
        done = epochs_done(unfinished_dir)
        feed = batches.training_batches(
            images, settings.batch_size, settings.seed, done * STEPS_AN_EPOCH, mirror=False
        )
        distiller.fit(
            ((pictures,) for pictures in feed),
            epochs=epochs,
            shuffle=False,
            steps_per_epoch=min(STEPS_AN_EPOCH, settings.steps),
            verbose=0 if quiet else 2,
            callbacks=callbacks(
                unfinished_dir,
                (distiller.random, distiller.student.dropout.seed_generator),
                settings.seed,
                settings.steps,
                settings.rate,
            ),
        )
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror or error}") from error
    return student


def callbacks(
    unfinished_dir: Path, generators: Sequence[Any], seed: int, steps: int, highest_rate: float
) -> list:
    """Keeps every epoch, and makes its random numbers a function of seed and epoch alone.

    The learning rate rises to `highest_rate` and falls to 0 over `steps`.
    """
    import keras

    from ssv_tf.training import rates

    def reseed(epoch: int, logs: dict | None = None) -> None:
        for number, generator in enumerate(generators):
            generator.state.assign([seed + number, epoch << 16])

    warm_up = max(1, int(steps * _WARM_UP_SHARE))
    rate = rates.warm_up_and_fall(max(1, steps - warm_up), highest_rate, warm_up)
    return [
        rates.RateByStep(rate),
        keras.callbacks.LambdaCallback(on_epoch_begin=reseed),
        keras.callbacks.BackupAndRestore(str(unfinished_dir), delete_checkpoint=False),
    ]


def optimizer(weights: "list[keras.Variable]") -> "keras.optimizers.Optimizer":
    """AdamW of `weights`; `callbacks` sets its rate."""
    import keras

    optimizer = keras.optimizers.AdamW(weight_decay=_WEIGHT_DECAY)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    optimizer.build(weights)  # else `fit` does, within its step, which is then traced twice
    return optimizer


def prepare(out: Path, made_with: dict, overwrite: bool) -> Path:
    """The folder of the unfinished training; with `overwrite`, out of nothing."""
    if overwrite:
        shutil.rmtree(out, ignore_errors=True)
    unfinished_dir = out / _UNFINISHED
    unfinished_dir.mkdir(parents=True, exist_ok=True)
    files.write_atomically(unfinished_dir / RECORD, json.dumps(made_with) + "\n")
    return unfinished_dir


def epochs_done(unfinished_dir: Path) -> int:
    """Where the callback will go on, so that the pictures go on there as well."""
    try:
        return int(json.loads((unfinished_dir / "training_metadata.json").read_text())["epoch"])
    except (OSError, ValueError, KeyError):
        return 0


def _distance(student: "StudentNetwork", teacher: "AnalysisNetwork", images: np.ndarray) -> dict:
    """How far the two answer from each other, in V's own angles."""
    from ssv_tf.models import inference

    student_deg = inference.decode(inference.predict(student, images)).degrees
    small = shrunk(images, teacher.resolution)
    teacher_deg = inference.decode(inference.predict(teacher, small)).degrees
    return distances(student_deg, teacher_deg)


def shrunk(images: np.ndarray, side: int) -> np.ndarray:
    """Means of blocks of pixels: uint8 [n, k side, k side, 3] -> [n, side, side, 3]."""
    factor = images.shape[1] // side
    if factor == 1:  # as they are; their means as float64 would take eight times the memory
        return images
    blocks = images.reshape(len(images), side, factor, side, factor, 3)
    return np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)


def distances(student_deg: np.ndarray, target_deg: np.ndarray) -> dict:
    """How far answers [n, 3] lie from their targets: what `distill.json` keeps."""
    error_deg = np.abs(viewpoint.wrap_deg(student_deg - target_deg))
    distance: dict = {"pictures": len(error_deg)}
    for i, name in enumerate(viewpoint.ANGLES):
        distance[name] = {
            "median_deg": float(np.median(error_deg[:, i])),
            "p95_deg": float(np.percentile(error_deg[:, i], 95)),
        }
    return distance


def write_run(
    run: run_folder.Run,
    out: Path,
    student: "StudentNetwork",
    options: config.Options,
    record: dict,
    fitted: "calibrations.Calibration | None" = None,
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Writes the student's run folder and removes what an unfinished training left.

    Args:
      run: the teacher's.
      out: the folder.
      student: the network.
      options: of the student.
      record: for `distill.json`.
      fitted: its calibration; None: the teacher's, whose angles are the student's.
      changes: fields of the teacher's calibration in which the student's angles are not.
    """
    run_folder.save_model(out / "models", student, "analysis.keras")
    calibration = run.calibration()
    if fitted is not None:
        networks = run_folder.Run(out, options).networks
        calibration = dataclasses.replace(fitted, networks=networks)
    elif calibration is not None:
        # The teacher's confidence and features are not the student's: `calibrate` fits them anew.
        calibration = dataclasses.replace(
            calibration, confidence=None, novelty=None, networks="", **changes
        )
    if calibration is not None:
        calibration.save(out / calibrations.FILE_NAME)
    files.write_atomically(out / "options.json", options.to_json())
    files.write_atomically(out / RECORD, json.dumps(record, indent=1) + "\n")
    shutil.rmtree(out / _UNFINISHED, ignore_errors=True)
