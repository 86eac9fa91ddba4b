"""Training a run from its folder: data in, steps, scores, pictures, checkpoints, models out."""

import contextlib
import json
import math
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ssv_tf import config
from ssv_tf.base import files
from ssv_tf.base.errors import SettingError, TrainingDiverged, UserError
from ssv_tf.base.types import Tensor
from ssv_tf.config.parts import STREAM_FILES
from ssv_tf.data import collection, records, sources
from ssv_tf.evaluation import animation, calibration, metrics
from ssv_tf.models import inference
from ssv_tf.training import (
    checkpoints,
    cluster,
    engines,
    health,
    monitor,
    networks,
    precision,
    run_folder,
    start,
    turntable,
)

LATEST_TURNTABLE = "turntable_so_far.gif"
_FEW_PICTURES = 500
_FIRST_LOOK = 100  # step of the first score and turntable, before the first interval has passed
_SCORE_CALIBRATION, _SCORE_COUNT = 100, 400  # pictures
_ABOUT_AS_HEALTHY = 0.05  # health of 128 pictures moves by this much between two measurements
# A resumed run may change these: none of them changes what the networks learn at a step, but that
# the rates fall towards the new number of steps.
_FREE_TO_CHANGE = {
    "run_dir", "steps", "log_interval", "checkpoint_interval", "evaluation_interval", "devices",
    "data", "labels", "score_data", "score_labels", "bad_pictures", "bad_rows",
}  # fmt: skip
_CHECKPOINTS_KEPT = 3


def train(options: config.Options, overwrite: bool = False, quiet: bool = False) -> int:
    """Trains a run to its end, or until a signal; goes on where an earlier call left off.

    Args:
      options: the settings; `run_dir` is where everything is written.
      overwrite: remove what the folder holds first.
      quiet: no progress bar.

    Returns:
      0, or 128 + the signal's number when one ended the run early (all is saved).

    Raises:
      UserError, SettingError: bad data, a folder of other settings, a full disk.
      TrainingDiverged: a loss or weight is no longer a number.
    """
    role = cluster.current_role()
    options = precision.settle(options, None if overwrite else begun(options))
    if role.is_chief:
        check_folder(options, overwrite)
        resumed = not overwrite and checkpoints.checkpoint_paths(
            Path(options.run.run_dir) / "checkpoints"
        )
        if options.run.init_from and not resumed:
            start.check(options)
    engines.join_cluster()
    pictures = load_training_pictures(options)
    side, how = options.framing.resolution, options.training
    engine = keras.backend.backend()
    print(f"training on {len(pictures)} pictures of {side} px, {how}, {engine}", flush=True)
    if warning := few_pictures(len(pictures), options):
        print(f"warning: {warning}", flush=True)
    if role.count > 1:
        print(f"worker {role.index} of {role.count}", flush=True)
    scoring = load_scoring_pictures(options) if role.is_chief else None
    folder = Path(options.run.run_dir)
    if not role.is_chief:
        return _train(options, folder / "workers" / str(role.index), pictures, None, True)
    with files.held(folder):
        prepare_folder(options, overwrite)  # bad data has cost nobody an old run by now
        return _train(options, folder, pictures, scoring, quiet)


def _train(
    options: config.Options,
    folder: Path,
    pictures: collection.PictureSet | records.Stream,
    scoring: collection.PictureSet | None,
    quiet: bool,
) -> int:
    angles_deg = pictures.angles_deg if options.pictures.supervised else None
    settings = _deciding(options)
    saved = None
    try:
        trainer = engines.make_trainer(options, angles_deg)
        peers = cluster.peers(trainer)
        saved = checkpoints.Checkpoints(
            folder / "checkpoints", trainer, _CHECKPOINTS_KEPT, settings
        )
        peers.check_same(json.dumps(settings), json.dumps([options.run.steps, *pictures.names]))
        first = _restored(saved, trainer, peers)
        if not first and options.run.init_from:
            start.take_over(trainer, options.run.init_from)
            print(f"starting from the networks of {options.run.init_from}", flush=True)
        folder.mkdir(parents=True, exist_ok=True)  # by now the chief has made the run folder
        watch = monitor.Monitor(folder, first, options.run.steps, quiet)
        try:
            with _stop_signals() as stop:
                session = _Session(options, folder, trainer, saved, watch, scoring, peers)
                return session.run(pictures.images, first, stop)
        finally:
            watch.close()
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error
    except Exception as error:
        if options.pictures.stream and (
            damage := records.damage(error, cluster.current_role().count)
        ):
            raise UserError(f"{options.pictures.data} cannot be read: {damage}") from error
        if not cluster.is_lost_worker(error):
            raise
        latest = saved.latest() if saved else None
        raise cluster.lost_worker(error, latest) from error


def _restored(
    saved: checkpoints.Checkpoints,
    trainer: engines.Trainer,
    peers: cluster.Alone | cluster.Together,
) -> int:
    """Restores the chief's newest checkpoint on all workers; returns its step."""
    first = saved.restore() if peers.role.is_chief else 0
    if peers.role.count > 1:
        about = {"step": np.int64(first), "best_health": np.float64(saved.best_health)}
        state = {name: np.asarray(v.numpy()) for name, v in trainer.state().items()}
        shared = peers.share(about | state)
        first = int(shared.pop("step"))
        saved.best_health = float(shared.pop("best_health"))
        trainer.restore(shared)
    if not peers.role.is_chief:
        saved.drop_later(first)
    if first:
        print(f"resumed at step {first}", flush=True)
    monitor.drop_later_records(saved.folder.parent / "metrics.jsonl", first)
    return first


def begun(options: config.Options) -> config.Options | None:
    """The settings of the run that the folder holds, if it holds one."""
    folder = Path(options.run.run_dir)
    return run_folder.load(folder).options if (folder / "options.json").is_file() else None


def check_folder(options: config.Options, overwrite: bool) -> None:
    """Checks that what lies in the run folder may be gone on with, or removed. Writes nothing.

    Raises:
      SettingError: the folder belongs to a run of other settings.
      UserError: it holds something that is not a run.
    """
    folder = Path(options.run.run_dir)
    options_path = folder / "options.json"
    if options_path.is_file():
        if overwrite:
            return
        before = run_folder.load(folder).options
        if before.earlier:
            gone = ", ".join(f"{name}={value}" for name, value in before.earlier.items())
            raise SettingError(
                f"{folder} was begun by an earlier version with {gone}, which this one does not "
                "have; finish it with that version, give `overwrite` to start anew, or another "
                "`run_dir`"
            )
        requested = _deciding(options)
        changed = [
            f"`{name}` was {value!r}"
            for name, value in _deciding(before).items()
            if value != requested[name]
        ]
        if changed:
            raise SettingError(
                f"{folder} is a run of other settings ({'; '.join(changed)}); give the same "
                "settings to resume it, `overwrite` to start anew, or another `run_dir`"
            )
    elif folder.exists() and (not folder.is_dir() or _holds_more_than_a_start(folder)):
        raise UserError(f"{folder} exists and is not a run; give another `run_dir`")


def _deciding(options: config.Options) -> dict[str, Any]:
    """The settings that decide what a run learns at a step; who decodes its records does not."""
    settings = {k: v for k, v in options.flat().items() if k not in _FREE_TO_CHANGE}
    return settings | {"stream": bool(options.pictures.stream)}


def _holds_more_than_a_start(folder: Path) -> bool:
    """Whether a folder holds anything but what a run killed at its very start leaves."""
    return any(not path.name.startswith(".options.json.") for path in folder.iterdir())


def prepare_folder(options: config.Options, overwrite: bool) -> Path:
    """Makes the run folder, after `check_folder`; with `overwrite`, from nothing.

    Raises:
      SettingError, UserError: as `check_folder`, or the folder cannot be written.
    """
    check_folder(options, overwrite)
    folder = Path(options.run.run_dir)
    if overwrite and folder.is_dir():
        _empty(folder)
    # First of all: a folder without it is no run, and nobody may go on with it.
    files.write_atomically(folder / "options.json", options.to_json())
    files.remove_leftovers(folder, "options.json", "metrics.jsonl")
    files.remove_leftovers(folder / "models", "*.json", "*.keras")
    files.remove_leftovers(folder / "models" / "best", "*.json", "*.keras")
    files.remove_leftovers(folder / "pictures", "*.png")
    for name in ("pictures", "checkpoints", "models"):
        try:
            (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make {folder / name}: {error.strerror}") from error
    return folder


def _empty(folder: Path) -> None:
    """Removes a run but for its options: killed meanwhile, it is still known as a run."""
    for path in folder.iterdir():
        if path.name == "options.json":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def load_training_pictures(options: config.Options) -> collection.PictureSet | records.Stream:
    """The training collection as the options say; no angle is read but with --supervised."""
    asked = options.pictures
    labels = asked.labels or None if asked.supervised else None
    if asked.stream:
        if keras.backend.backend() != "tensorflow":
            raise SettingError(
                "`stream` is for the TensorFlow engine; without it records are loaded"
            )
        service = "" if asked.stream == STREAM_FILES else asked.stream
        return records.open_stream(asked.data, options.framing, service)
    pictures = sources.load_collection(
        asked.data,
        split="train",
        **options.framing.to_dict(),
        where=asked.where or None,
        where_table=asked.labels or None,
        limit=asked.limit or None,
        labels=labels,
        labelled_only=bool(labels),
        bad_pictures=asked.bad_pictures,
        bad_rows=asked.bad_rows,
    )
    return _labelled(pictures, options) if options.pictures.supervised else pictures


def few_pictures(count: int, options: config.Options) -> str:
    """A warning where a collection is small for self-supervision, else nothing.

    Raises:
      UserError: there are fewer pictures than a batch has.
    """
    batch = options.run.batch_size
    if count < batch:
        raise UserError(
            f"{options.pictures.data} has {count} usable pictures, fewer than a batch of {batch}; "
            "give more (some hundreds at least, thousands are better), or a smaller `batch_size`"
        )
    if options.pictures.supervised or count >= _FEW_PICTURES:
        return ""
    begins = "" if options.run.init_from else ", start from a run of a like object (--init_from)"
    return (
        f"{count} pictures are few: V can learn them by heart and S draw them alone. Give more if "
        f"you can{begins}, and trust the turntable, not the losses"
    )


def _labelled(pictures: collection.PictureSet, options: config.Options) -> collection.PictureSet:
    if not pictures.has_label.any():
        raise SettingError(
            f"`supervised`: {options.pictures.data} brings no angles; give `labels=CSV` of them"
        )
    whole = pictures.known.all(axis=1)
    if not whole.any():
        raise UserError("--supervised: no picture has all three angles, which it learns from")
    return pictures.subset(whole)


def load_scoring_pictures(options: config.Options) -> collection.PictureSet | None:
    """The labelled pictures of periodic scores, or None. Never the test split."""
    same = options.framing.to_dict()
    asked = options.pictures
    if asked.score_data:
        if not asked.score_labels:
            raise SettingError("`score_data` needs `score_labels`, a CSV of angles in degrees")
        scoring = sources.load_collection(
            asked.score_data,
            labels=asked.score_labels,
            labelled_only=True,
            bad_pictures=asked.bad_pictures,
            bad_rows=asked.bad_rows,
            **same,
        ).labelled()
    elif asked.data == sources.EMBEDDED:
        scoring = sources.load_collection(sources.EMBEDDED, split="calibration", **same)
    else:
        return None
    if len(scoring) < _SCORE_CALIBRATION + 20:
        raise UserError(
            f"periodic scores need at least {_SCORE_CALIBRATION + 20} labelled pictures, "
            f"{asked.score_data or asked.data} has {len(scoring)}"
        )
    order = np.random.default_rng(options.run.seed).permutation(len(scoring))
    return scoring.subset(order[:_SCORE_COUNT])


class _Session:
    """One call of `train`: the loop and all that happens between steps."""

    def __init__(
        self,
        options: config.Options,
        folder: Path,
        trainer: engines.Trainer,
        saved: checkpoints.Checkpoints,
        watch: monitor.Monitor,
        scoring: collection.PictureSet | None,
        peers: cluster.Alone | cluster.Together,
    ) -> None:
        self.options, self.folder, self.trainer = options, folder, trainer
        self.saved, self.watch, self.scoring, self.peers = saved, watch, scoring, peers
        self.health: health.Health | None = None
        self.signals: dict[str, float] = {}

    def run(self, images: np.ndarray | records.Stream, first: int, stop: "_Stop") -> int:
        if not self.options.pictures.supervised and self.peers.role.is_chief:
            looked_at = images.sample() if isinstance(images, records.Stream) else images
            self.health = health.Health(
                viewpoints=self.options.viewpoints,
                code_size=self.options.method.code_size,
                augment_strength=self.options.method.augment,
                seed=self.options.run.seed,
                features=self.trainer.objective.features,
                pictures=looked_at,
            )
            self.health.answers_deg = self.saved.answers_deg
        batches = self.trainer.batches(images, first)
        done, stopped = first, 0
        while done < self.options.run.steps and not stopped:
            self._step(next(batches), done)
            done += 1
            self._between_steps(done)
            stopped = self.peers.agreed_stop(stop.number)
        self._save(done)
        self.peers.wait()  # nobody leaves before the chief has saved
        if not stopped:
            for sentence in health.verdict(self.signals, self.options):
                self.watch.say(sentence)
            return 0
        self.watch.say(f"stopped by signal {stopped} after step {done}; everything is saved")
        return 128 + stopped

    def _step(self, batch: Tensor, number: int) -> None:
        interval = networks.penalty_interval(self.options)
        penalise = interval > 0 and number % interval == 0
        parts = self.trainer.step(batch, np.asarray(number, np.int64), penalise)
        values = {name: float(value) for name, value in parts.items()}
        bad = sorted(name for name, value in values.items() if not math.isfinite(value))
        if bad:
            latest = self.saved.latest()
            remains = f"{latest} remains" if latest else "no checkpoint was saved yet"
            raise TrainingDiverged(
                f"step {number + 1}: {', '.join(bad)} not a number; {remains}. Lower "
                "`analysis_rate` and `synthesis_rate`, or raise `gradient_penalty_weight`"
            )
        self.watch.add(values)

    def _between_steps(self, done: int) -> None:
        began, run, last = time.monotonic(), self.options.run, done == self.options.run.steps
        evaluates = done % run.evaluation_interval == 0 or last
        looks = evaluates or (done == _FIRST_LOOK and done < run.evaluation_interval)
        if evaluates or done % run.checkpoint_interval == 0:
            self.saved.finite_values()  # before anything is written that others may use
        if looks:
            self._score(done)
        if looks and self.health:
            self._show_turntable(done)
        if evaluates and self.health:
            self._check_health(done)
        self.watch.pause(time.monotonic() - began)
        if done % run.log_interval == 0 or last:
            self.watch.flush(done)  # before the checkpoint: a run killed between them loses no line
        if done % run.checkpoint_interval == 0:
            began = time.monotonic()
            self._save(done)
            self.watch.pause(time.monotonic() - began)

    def _show_turntable(self, done: int) -> None:
        viewpoints = self.options.viewpoints
        pictures = turntable.turntable(self.trainer.synthesis_ema, viewpoints)
        self.watch.picture(done, "turntable", turntable.tile(pictures))
        moving = animation.frames(pictures, viewpoints.full_circle)
        path = self.watch.latest(LATEST_TURNTABLE, animation.encode(moving, ".gif"))
        if done <= _FIRST_LOOK:
            self.watch.say(f"what S draws so far, renewed with every score: {path}")

    def _save(self, done: int) -> None:
        self.saved.save(done)
        if not self.peers.role.is_chief:
            return
        run_folder.save_models(
            self.folder / "models", self.trainer.analysis_ema, self.trainer.synthesis_ema
        )

    def _score(self, done: int) -> None:
        if self.scoring is None:
            return
        raw = inference.predict(self.trainer.analysis_ema, self.scoring.images)
        self.watch.histogram(done, "predicted_azimuth_deg", inference.decode(raw).azimuth_deg)
        known, rest = slice(0, _SCORE_CALIBRATION), slice(_SCORE_CALIBRATION, None)
        true = self.scoring.angles_deg
        assert true is not None  # they are all labelled
        kind = calibration.azimuth_kind(self.options)
        tolerance_deg = self.scoring.label_tolerance_deg
        try:
            fitted = calibration.fit(raw[known], true[known], kind, tolerance_deg)
        except UserError as error:
            self.watch.say(f"{self.watch.when(done)}: no score: {error}")
            return
        judged = np.where(fitted.calibrated_angles, true[rest], np.nan)
        predicted = inference.decode(raw[rest], fitted).degrees
        values = metrics.periodic(predicted, judged, tolerance_deg)
        self.watch.record(done, values, "score")
        scores = "  ".join(f"{name} {value:.2f}" for name, value in values.items())
        self.watch.say(f"{self.watch.when(done)}: {scores}")

    def _check_health(self, done: int) -> None:
        """Measures health without a label, and keeps the newest networks that are about as
        healthy as the best.
        """
        assert self.health
        self.signals = self.health.measure(self.trainer.analysis_ema, self.trainer.synthesis_ema)
        self.saved.answers_deg = self.health.answers_deg
        self.watch.record(done, self.signals, "health")
        self.watch.show("health", self.signals["health"])
        text = json.dumps({"step": done, **self.signals}, indent=1) + "\n"
        files.write_atomically(self.folder / "models" / "health.json", text)
        if self.signals["health"] < self.saved.best_health - _ABOUT_AS_HEALTHY:
            return
        self.saved.best_health = max(self.saved.best_health, self.signals["health"])
        best = self.folder / "models" / "best"
        run_folder.save_models(best, self.trainer.analysis_ema, self.trainer.synthesis_ema)
        files.write_atomically(best / "health.json", text)


class _Stop:
    number = 0


@contextlib.contextmanager
def _stop_signals() -> Iterator[_Stop]:
    """Notes SIGINT and SIGTERM while inside; a second one gets its usual effect."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():  # only that one gets signals
        yield stop
        return
    before: dict[int, Any] = {}

    def note(number: int, _frame: Any) -> None:
        stop.number = number
        signal.signal(number, before[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, note)
    try:
        yield stop
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler)
