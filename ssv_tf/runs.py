"""A run folder and what it keeps: options, models, calibration, pictures, log.

runs/NAME/
  options.json  calibration.json  metrics.jsonl
  models/analysis.keras models/synthesis.keras   the last, S averaged
  models/best/...                                the newest of about the best health
  pictures/  checkpoints/  tensorboard/
"""

import contextlib
import dataclasses
import os
import sys
import tempfile
from pathlib import Path

from ssv_tf import config
from ssv_tf.errors import FlagError, UserError

_PRESETS = Path(__file__).parent / "presets"


@dataclasses.dataclass(frozen=True)
class Run:
    """A trained run on disk.

    Attributes:
      path: its folder.
      options: what it was trained with.
      preset: its name where it came with the package, else None.
    """

    path: Path
    options: config.Options
    preset: str | None = None

    @property
    def models_dir(self) -> Path:
        """Where the models to use lie: the best by health if there is one, else the last."""
        best = self.path / "models" / "best"
        return best if (best / "analysis.keras").is_file() else self.path / "models"

    def analysis(self):
        """The trained AnalysisNetwork."""
        from ssv_tf.models import analysis

        return _load_model(self.models_dir / "analysis.keras", analysis.AnalysisNetwork)

    def synthesis(self):
        """The trained SynthesisNetwork, averaged weights.

        Raises:
          UserError: the run is supervised, which trains none.
        """
        if self.options.supervised:
            raise UserError(f"{self.path} is {self.options.training}: it has no trained S to draw")
        from ssv_tf.models import synthesis

        return _load_model(self.models_dir / "synthesis.keras", synthesis.SynthesisNetwork)

    def calibration(self):
        """The run's Calibration, or None before `calibrate`."""
        from ssv_tf.calibration import Calibration

        path = self.path / "calibration.json"
        if not path.is_file():
            return None
        try:
            return Calibration.from_json(path.read_text(), str(path))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read: {error}") from error


def load(path: str | os.PathLike | None = None, preset: str | None = None) -> Run:
    """The run in folder `path`, or the one that came with the package under `preset`.

    Raises:
      FlagError: neither or both are given.
      UserError: no such run, or not a run.
    """
    if bool(path) == bool(preset):
        raise FlagError("give either --run=FOLDER or --preset=NAME")
    folder = _preset_folder(preset) if preset else Path(path)  # type: ignore[arg-type]
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


def say_if_supervised(options: config.Options) -> None:
    """A line on stderr for a run that was trained from labels."""
    if options.supervised:
        print(f"warning: the run is {options.training}, trained from labels", file=sys.stderr)


def _preset_folder(name: str) -> Path:
    known = sorted(p.name for p in _PRESETS.iterdir()) if _PRESETS.is_dir() else []
    if name not in known:
        raise FlagError(f"--preset={name}: known presets: {', '.join(known) or 'none yet'}")
    return _PRESETS / name


def _load_model(path: Path, model_class):
    import keras

    if not path.is_file():
        raise UserError(f"{path} is missing: the run has not saved its models yet")
    try:
        return keras.saving.load_model(
            path, custom_objects={model_class.__name__: model_class}, compile=False
        )
    except Exception as error:  # Keras raises many kinds for a damaged file
        first = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise UserError(f"{path} cannot be read as a Keras model: {first[0]}") from error


def save_models(folder: str | os.PathLike, analysis, synthesis) -> None:
    """Writes analysis.keras and synthesis.keras into `folder`, each by way of a temporary name."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for model, name in ((analysis, "analysis.keras"), (synthesis, "synthesis.keras")):
            _save_model(model, folder / name)
    except OSError as error:
        raise UserError(f"cannot write models to {folder}: {error.strerror or error}") from error


def _save_model(model, path: Path) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".keras")
    os.close(handle)
    try:
        model.save(temporary)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
