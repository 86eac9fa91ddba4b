"""A run folder and what it keeps: options, models, calibration, pictures, log.

runs/NAME/
  options.json  calibration.json  metrics.jsonl
  models/analysis.keras models/synthesis.keras   the last, S averaged
  models/best/...                                the newest of about the best health
  models/analysis.tflite                         V for LiteRT, of the first prediction
  pictures/  checkpoints/  tensorboard/

A student's (`ssv_tf.distill`) has distill.json, and a StudentNetwork as its analysis.keras.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssv_tf import config
from ssv_tf.base import presets
from ssv_tf.base.errors import SettingError, UserError, ViewpointWarning

if TYPE_CHECKING:
    import keras

    from ssv_tf.evaluation.calibration import Calibration
    from ssv_tf.models.analysis import AnalysisNetwork
    from ssv_tf.models.student import StudentNetwork
    from ssv_tf.models.synthesis import SynthesisNetwork


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained run on disk.

    Attributes:
      path: its folder.
      options: what it was trained with.
      preset: its name where it came with the package, else None.
      fitted: a calibration in memory, which comes before the folder's.
    """

    path: Path
    options: config.Options
    preset: str | None = None
    fitted: "Calibration | None" = None

    @property
    def models_dir(self) -> Path:
        """Where the models to use lie: the best by health if there is one, else the last."""
        best = self.path / "models" / "best"
        return best if (best / "analysis.keras").is_file() else self.path / "models"

    @property
    def student(self) -> str | None:
        """The name of the teacher where the run is a student of another, else None."""
        record = self._distilled
        return None if record is None else str(record["teacher"])

    @property
    def anchors(self) -> int:
        """How many labelled pictures trained it (`training.anchors`); 0: none."""
        return int((self._distilled or {}).get("anchored_on", 0))

    @property
    def training(self) -> str:
        """How V is trained, in words for whoever reads a score."""
        return config.anchored(self.options.training, self.anchors)

    @property
    def _distilled(self) -> dict[str, Any] | None:
        """What distill.json holds; None of what is no student."""
        path = self.path / "distill.json"
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_text())
            return {"anchored_on": int(record.get("anchored_on", 0)), "teacher": record["teacher"]}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} cannot be read: {error}") from error

    def analysis(self) -> "AnalysisNetwork | StudentNetwork":
        """The trained AnalysisNetwork; of a student, the StudentNetwork."""
        from ssv_tf.models import analysis, student

        kinds = analysis.AnalysisNetwork, student.StudentNetwork
        return _load_model(self.models_dir / "analysis.keras", *kinds)

    def synthesis(self) -> "SynthesisNetwork":
        """The trained SynthesisNetwork, averaged weights.

        Raises:
          UserError: the run is supervised, which trains none, or a student, which needs none.
        """
        if self.student:
            raise UserError(f"{self.path} is a student of {self.student}: it has no S to draw")
        if self.options.pictures.supervised:
            raise UserError(f"{self.path} is {self.options.training}: it has no trained S to draw")
        from ssv_tf.models import synthesis

        return _load_model(self.models_dir / "synthesis.keras", synthesis.SynthesisNetwork)

    @property
    def has_synthesis(self) -> bool:
        """Whether there is a trained S: a student and a supervised run have none."""
        path = self.models_dir / "synthesis.keras"
        return path.is_file() and not self.student and not self.options.pictures.supervised

    @property
    def tells_novelty(self) -> bool:
        """Whether its calibration tells pictures of something else."""
        calibration = self.calibration()
        return calibration is not None and calibration.novelty is not None

    @property
    def networks(self) -> str:
        """A hash of the analysis network, by which a calibration knows what it was fitted to.

        Empty where there is no such file.
        """
        path = self.models_dir / "analysis.keras"
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""

    def calibration(self) -> "Calibration | None":
        """The run's Calibration, or None before `calibrate`.

        One that was fitted to other networks, as when training went on since, is used with a
        ViewpointWarning.
        """
        from ssv_tf.evaluation.calibration import Calibration

        if self.fitted is not None:
            return self.fitted
        path = self.path / "calibration.json"
        if not path.is_file():
            return None
        try:
            fitted = Calibration.from_json(path.read_text(), str(path))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read: {error}") from error
        if fitted.networks and fitted.networks != self.networks:
            warnings.warn(
                f"{path} was fitted to other networks than the run has now; calibrate it again",
                ViewpointWarning,
                stacklevel=2,
            )
        return fitted


def load(path: str | os.PathLike | None = None, preset: str | None = None) -> Run:
    """The run in folder `path`, or the one that came with the package under `preset`.

    Raises:
      SettingError: neither or both are given.
      UserError: no such run, or not a run.
    """
    if bool(path) == bool(preset):
        raise SettingError("give either `run=FOLDER` or `preset=NAME`")
    folder = presets.folder(preset) if preset else Path(path)  # type: ignore[arg-type]
    if not folder.is_dir():
        raise UserError(f"no such run folder: {folder}")
    options_path = folder / "options.json"
    if not options_path.is_file():
        raise UserError(f"{folder} is not a run: it has no options.json")
    try:
        text = options_path.read_text()
    except (OSError, ValueError) as error:
        raise UserError(f"{options_path} cannot be read: {error}") from error
    return Run(folder, config.from_json(text, str(options_path)), preset or None)


def find(name: str) -> Run:
    """The run in the folder of that name, else the preset; a folder of something else is no run.

    Raises:
      UserError: neither.
    """
    if name in presets.names() and not (Path(name) / "options.json").is_file():
        return load(preset=name)
    if Path(name).is_dir():
        return load(name)
    known = ", ".join(presets.names()) or "none"
    raise UserError(f"{name} is neither a run folder nor a preset; presets: {known}")


def say_if_supervised(options: config.Options) -> None:
    """A line on stderr for a run that was trained from labels, or as this version cannot train."""
    if options.earlier:
        gone = ", ".join(f"{name}={value}" for name, value in options.earlier.items())
        print(f"note: the run was trained by an earlier version with {gone}", file=sys.stderr)
    if options.pictures.supervised:
        print(f"warning: the run is {options.training}, trained from labels", file=sys.stderr)


def _load_model(path: Path, *classes: type) -> Any:
    import keras

    if not path.is_file():
        raise UserError(f"{path} is missing: the run has not saved its models yet")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} cannot be read as a Keras model: empty, cut short or foreign")
    try:
        model = keras.saving.load_model(
            path, custom_objects={kind.__name__: kind for kind in classes}, compile=False
        )
    except Exception as error:  # Keras raises many kinds for a damaged file
        first = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise UserError(f"{path} cannot be read as a Keras model: {first[0]}") from error
    if not isinstance(model, classes):
        expected = " or ".join(kind.__name__ for kind in classes)
        raise UserError(f"{path} holds a {type(model).__name__}, no {expected}")
    return model


def save_models(
    folder: str | os.PathLike, analysis: "keras.Model", synthesis: "keras.Model"
) -> None:
    """Writes analysis.keras and synthesis.keras into `folder`, each by way of a temporary name."""
    for model, name in ((analysis, "analysis.keras"), (synthesis, "synthesis.keras")):
        save_model(folder, model, name)


def save_model(folder: str | os.PathLike, model: "keras.Model", name: str) -> None:
    """Writes a model into `folder` under `name`, by way of a temporary name."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _save_model(model, folder / name)
    except OSError as error:
        raise UserError(f"cannot write models to {folder}: {error.strerror or error}") from error


def _save_model(model: "keras.Model", path: Path) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".keras")
    os.close(handle)
    try:
        model.save(temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
