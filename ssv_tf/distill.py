"""Makes a phone-size student of a run: a run folder of its own, for every other command.

  python -m ssv_tf.distill --run=RUN --out=runs/phone
  python -m ssv_tf.calibrate --run=runs/phone --overwrite ...   # also makes it tell how sure it is
  python -m ssv_tf.export --run=runs/phone --out=exported

No label is read: V teaches on unlabelled pictures, and S draws more with known viewpoints. The
run's calibration is copied, as the student answers in V's own angles. Ctrl-C loses nothing but the
last hundred steps: the same command goes on.
"""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from ssv_tf import cli, config, files, runs, viewpoint
from ssv_tf.calibration import FILE_NAME as CALIBRATION
from ssv_tf.errors import FlagError, UserError

RECORD = "distill.json"

_STEPS_AN_EPOCH = 100
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


def define_flags() -> None:
    """Registers this command's flags."""
    default = Settings()
    flags.DEFINE_string("run", "", "Folder of a trained run.")
    flags.DEFINE_string("preset", "", "Name of a run that came with the package.")
    flags.DEFINE_string("out", "", "Run folder of the student.")
    flags.DEFINE_string(
        "data_dir", "", "Unlabelled pictures to learn on; empty: what the run was trained on."
    )
    flags.DEFINE_string("where", "", "Pictures of --data_dir to learn on, as in training.")
    flags.DEFINE_integer("limit", 0, "Use at most this many pictures; 0: all.", lower_bound=0)
    flags.DEFINE_enum(
        "resolution", str(default.resolution), ["32", "64", "128"], "Picture side in pixels."
    )
    flags.DEFINE_float(
        "width", default.width, "Times MobileNetV3-small's channels.", lower_bound=0.1,
        upper_bound=4.0,
    )  # fmt: skip
    flags.DEFINE_integer(
        "steps", default.steps, "Training steps, above a hundred rounded up to whole hundreds.",
        lower_bound=1,
    )  # fmt: skip
    flags.DEFINE_integer("batch_size", default.batch_size, "Real pictures a step.", lower_bound=2)
    flags.DEFINE_float(
        "drawn_share", default.drawn_share, "Pictures S draws, as a share of the real ones.",
        lower_bound=0.0, upper_bound=4.0,
    )  # fmt: skip
    flags.DEFINE_float(
        "mirror_weight", default.mirror_weight,
        "Weight of the student's agreement with itself on mirrored pictures.", lower_bound=0.0,
    )  # fmt: skip
    flags.DEFINE_float("rate", default.rate, "Adam's learning rate.", lower_bound=1e-8)
    flags.DEFINE_integer("seed", default.seed, "Seed of everything random.", lower_bound=0)
    flags.DEFINE_bool("overwrite", False, "Remove what --out holds and start anew.")
    flags.DEFINE_bool("quiet", False, "No progress bar.")


def main(argv) -> None:
    """Distils and says how near the student came."""
    values = flags.FLAGS
    if len(argv) > 1:
        raise FlagError(f"distill takes flags only, got {' '.join(argv[1:])}")
    if not values.out:
        raise FlagError("--out=FOLDER is missing")
    run = runs.load(values.run or None, values.preset or None)
    runs.say_if_supervised(run.options)
    asked: dict[str, Any] = {f.name: values[f.name].value for f in dataclasses.fields(Settings)}
    settings = Settings(**asked | {"resolution": int(values.resolution)})
    out = Path(values.out)
    if values.where and not values.data_dir:
        raise FlagError("--where needs --data_dir")
    source = Source(values.data_dir, values.where, values.limit)
    record = distill(run, out, settings, source, values.overwrite, values.quiet)
    print(table(record))
    print(f"run folder: {out}")


def distill(
    run: runs.Run,
    out: Path,
    settings: Settings,
    source: Source = Source(),
    overwrite: bool = False,
    quiet: bool = False,
) -> dict:
    """Trains a student and writes its run folder.

    Args:
      run: the teacher's.
      out: the folder; one that an interrupted call of the same settings left is gone on with.
      settings: how.
      source: the pictures.
      overwrite: remove what `out` holds first.
      quiet: no progress bar.

    Returns:
      what `distill.json` holds: settings, teacher, pictures, distance from the teacher in degrees.

    Raises:
      FlagError, UserError: settings that do not fit the run, bad data, a folder of something else.
    """
    _check(run, settings)
    teacher = run.analysis()
    synthesis = _synthesis(run, settings)
    made_with = {"teacher": run.preset or run.path.name, **dataclasses.asdict(settings)}
    _check_folder(out, made_with, overwrite)
    options = _student_options(run.options, settings, source)
    train, held_out = _split(_pictures(options), settings.seed)
    student = _train(run, teacher, synthesis, settings, train, out, made_with, overwrite, quiet)
    record = made_with | {
        "pictures": len(train),
        "parameters": student.count_params(),
        "teacher_distance": _distance(student, teacher, held_out),
    }
    _write_run(run, out, student, options, record)
    return record


def table(record: dict) -> str:
    """The student beside its teacher, as aligned text."""
    apart = record["teacher_distance"]
    lines = [
        f"student of {record['teacher']}: {record['resolution']} px, "
        f"{record['parameters']:,} parameters, taught on {record['pictures']:,} pictures",
        f"distance from the teacher, degrees, {apart['pictures']} other pictures",
        f"{'':<12}{'median':>8}{'95 %':>8}",
    ]
    lines += [
        f"{name:<12}{apart[name]['median_deg']:>8.2f}{apart[name]['p95_deg']:>8.2f}"
        for name in viewpoint.ANGLES
    ]
    return "\n".join(lines)


def _check(run: runs.Run, settings: Settings) -> None:
    if settings.resolution < run.options.resolution:
        raise FlagError(
            f"--resolution={settings.resolution} is less than the teacher's "
            f"{run.options.resolution}"
        )
    if run.student:
        raise UserError(f"{run.path} is a student itself; give its teacher, {run.student}")


def _synthesis(run: runs.Run, settings: Settings):
    """The S that draws, or None where none is asked for; UserError where there is none."""
    return run.synthesis() if settings.drawn_share and not run.options.supervised else None


def _check_folder(out: Path, made_with: dict, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    ours = (out / RECORD).is_file() or (out / _UNFINISHED / RECORD).is_file()
    if not ours:
        raise FlagError(f"{out} exists and is no student; give another --out")
    if overwrite:
        return
    if (out / RECORD).is_file():
        raise FlagError(f"{out} holds a student; give --overwrite to replace it, or another --out")
    before = json.loads((out / _UNFINISHED / RECORD).read_text())
    changed = [f"{k} was {v!r}" for k, v in before.items() if made_with.get(k) != v]
    if changed:
        raise FlagError(
            f"{out} holds an unfinished student of other settings ({'; '.join(changed)}); give the "
            "same flags to go on, --overwrite to start anew, or another --out"
        )


def _student_options(options: config.Options, settings: Settings, source: Source):
    """The teacher's options as the student's pictures need them."""
    changes: dict = {"resolution": settings.resolution}
    if source.data_dir:
        changes |= {"data": source.data_dir, "where": source.where, "where_table": ""}
    if source.limit:
        changes["limit"] = source.limit
    return dataclasses.replace(options, **changes)


def _pictures(options: config.Options) -> np.ndarray:
    from ssv_tf.training import loop

    unlabelled = dataclasses.replace(options, supervised=False, train_labels="")
    try:
        return loop.load_training_pictures(unlabelled).images
    except FlagError:
        raise
    except UserError as error:
        raise UserError(f"{error}; --data_dir=FOLDER gives other pictures") from error


def _split(images: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures to learn on, and some to compare on."""
    if len(images) < 2:
        raise UserError("one picture is too few to learn on")
    apart = max(1, min(_HELD_OUT, int(len(images) * _HELD_OUT_SHARE)))
    order = np.random.default_rng(seed).permutation(len(images))
    return images[np.sort(order[apart:])], images[np.sort(order[:apart])]


def _train(run, teacher, synthesis, settings, images, out, made_with, overwrite, quiet):
    import keras

    from ssv_tf.data import batches
    from ssv_tf.models.student import StudentNetwork
    from ssv_tf.training.distillation import Distiller

    keras.utils.set_random_seed(settings.seed)
    encoding = teacher.encoding
    student = StudentNetwork(
        settings.resolution, settings.width, centre_rad=encoding.centre_rad,
        stretch=encoding.stretch,
    )  # fmt: skip
    student.build()
    drawn = round(settings.drawn_share * settings.batch_size)
    distiller = Distiller(
        student, teacher, synthesis, run.options, drawn, settings.mirror_weight, settings.seed
    )
    distiller.build()
    distiller.compile(optimizer=_optimizer(settings))
    epochs = -(-settings.steps // _STEPS_AN_EPOCH)
    try:
        kept = _prepare(out, made_with, overwrite)
        done = _epochs_done(kept)
        feed = batches.training_batches(
            images, settings.batch_size, settings.seed, done * _STEPS_AN_EPOCH, mirror=False
        )
        distiller.fit(
            ((pictures,) for pictures in feed),
            epochs=epochs,
            shuffle=False,
            steps_per_epoch=min(_STEPS_AN_EPOCH, settings.steps),
            verbose=0 if quiet else 2,
            callbacks=_callbacks(kept, distiller, settings.seed),
        )
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror or error}") from error
    return student


def _callbacks(kept: Path, distiller, seed: int) -> list:
    """Keeps every epoch, and makes its random numbers a function of seed and epoch alone."""
    import keras

    generators = distiller.random, distiller.student.dropout.seed_generator

    def reseed(epoch, logs=None):
        for number, generator in enumerate(generators):
            generator.state.assign([seed + number, epoch << 16])

    return [
        keras.callbacks.LambdaCallback(on_epoch_begin=reseed),
        keras.callbacks.BackupAndRestore(str(kept), delete_checkpoint=False),
    ]


def _optimizer(settings: Settings):
    import keras

    warm_up = max(1, int(settings.steps * _WARM_UP_SHARE))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, settings.steps - warm_up), warmup_target=settings.rate, warmup_steps=warm_up
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=_WEIGHT_DECAY)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _prepare(out: Path, made_with: dict, overwrite: bool) -> Path:
    """The folder of the unfinished training; with `overwrite`, out of nothing."""
    if overwrite:
        shutil.rmtree(out, ignore_errors=True)
    kept = out / _UNFINISHED
    kept.mkdir(parents=True, exist_ok=True)
    files.write_atomically(kept / RECORD, json.dumps(made_with) + "\n")
    return kept


def _epochs_done(kept: Path) -> int:
    """Where the callback will go on, so that the pictures go on there as well."""
    try:
        return int(json.loads((kept / "training_metadata.json").read_text())["epoch"])
    except (OSError, ValueError, KeyError):
        return 0


def _distance(student, teacher, images: np.ndarray) -> dict:
    """How far the two answer from each other, in V's own angles."""
    from ssv_tf import inference

    own = inference.predict(student, images)[:, :3]
    factor = student.resolution // teacher.resolution
    side = teacher.resolution
    blocks = images.reshape(len(images), side, factor, side, factor, 3)
    small = np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)
    apart = np.abs(viewpoint.wrap_deg(own - inference.predict(teacher, small)[:, :3]))
    found: dict = {"pictures": len(images)}
    for i, name in enumerate(viewpoint.ANGLES):
        found[name] = {
            "median_deg": float(np.median(apart[:, i])),
            "p95_deg": float(np.percentile(apart[:, i], 95)),
        }
    return found


def _write_run(run: runs.Run, out: Path, student, options, record: dict) -> None:
    calibration = run.calibration()
    if calibration is not None:
        # The teacher's confidence is not the student's: `calibrate` fits that anew.
        dataclasses.replace(calibration, confidence=None).save(out / CALIBRATION)
    runs.save_model(out / "models", student, "analysis.keras")
    files.write_atomically(out / "options.json", options.to_json())
    files.write_atomically(out / RECORD, json.dumps(record, indent=1) + "\n")
    shutil.rmtree(out / _UNFINISHED, ignore_errors=True)


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
