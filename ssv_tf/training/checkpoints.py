"""Checkpoints of either engine: step, networks and their averages, all optimizers, the prior.

checkpoints/step-N.npz holds plain NumPy arrays by name, so that a run one engine began another
can go on with. Data order and random numbers are functions of (seed, step), so the step is their
position too.
"""

import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ssv_tf.base import files
from ssv_tf.base.errors import TrainingDiverged, UserError

if TYPE_CHECKING:
    from ssv_tf.training.engines import Trainer

_NAME = re.compile(r"step-(\d+)\.npz")
# 1 had neither "format" nor "settings", 2 no "answers_deg"; both are still read.
FORMAT = 3
_UNREADABLE = (
    OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_ABOUT = {"step", "best_health"}
_ABOUT_LATER = {"format", "settings", "answers_deg"}


class Checkpoints:
    """Saves and restores a Trainer in a folder, keeping the last few.

    Args:
      folder: checkpoints/ of the run.
      trainer: an engine's Trainer; gives `state()`, takes `restore(values)`.
      keep: how many stay.
      settings: what decides how the run trains; saved, and compared on restoring.

    Attributes:
      best_health: the best health so far, saved with the rest.
      answers_deg: what health compares its next measurement with, saved with the rest.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        trainer: "Trainer",
        keep: int,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.folder, self.trainer, self.keep = Path(folder), trainer, keep
        self.settings: dict[str, Any] = settings or {}
        self.best_health = 0.0
        self.answers_deg = np.zeros(0, "float32")
        self._saved: int | None = None

    def latest(self) -> Path | None:
        """The newest checkpoint, or None."""
        saved = checkpoint_paths(self.folder)
        return saved[-1] if saved else None

    def restore(self) -> int:
        """Restores the newest checkpoint that can be read; returns its step, 0 for none.

        Newer ones that cannot be read are renamed to NAME.damaged; what a killed process had half
        written is removed.

        Raises:
          UserError: there are checkpoints and none can be read, or the newest that can is of
            another run, of other networks or of a later version.
        """
        files.remove_leftovers(self.folder, "step-*.npz")
        damaged: dict[Path, str] = {}
        for path in reversed(checkpoint_paths(self.folder)):
            try:
                values = _read(path)
            except _UNREADABLE as error:
                reason = str(error).strip().splitlines() or [type(error).__name__]
                damaged[path] = f"{path.name}: {reason[0][:200]}"
                continue
            if foreign := self._foreign(values):
                raise UserError(
                    f"{path} {foreign}; move it away to go on from the one before, give "
                    "--overwrite to start anew, or another --run_dir"
                )
            return self._take(values, damaged)
        if damaged:
            first = next(iter(damaged.values()))
            raise UserError(f"no checkpoint in {self.folder} can be restored; {first}")
        if any(self.folder.glob("ckpt-*.index")):
            raise UserError(
                f"{self.folder} holds checkpoints of an earlier version; give --overwrite to start "
                "anew, or another --run_dir"
            )
        return 0

    def drop_later(self, step: int) -> None:
        """Removes checkpoints after `step`, of a worker that takes its state from the chief."""
        files.remove_leftovers(self.folder, "step-*.npz")
        for path in checkpoint_paths(self.folder):
            if step_of(path) > step:
                path.unlink(missing_ok=True)

    def _take(self, values: dict[str, np.ndarray], damaged: Iterable[Path]) -> int:
        for other in damaged:
            other.rename(f"{other}.damaged")
        self.best_health = float(values["best_health"])
        self.answers_deg = values.get("answers_deg", self.answers_deg)
        self._saved = int(values["step"])
        self.trainer.restore({name: values[name] for name in self.trainer.state()})
        return self._saved

    def _foreign(self, values: dict[str, np.ndarray]) -> str:
        """Why a readable checkpoint is not this run's; empty where it is."""
        if int(values.get("format", 1)) > FORMAT:
            return "was saved by a later version of ssv_tf"
        before = json.loads(str(values.get("settings", "{}")))
        for name in sorted(set(before) & set(self.settings)):
            if before[name] != self.settings[name]:
                return f"belongs to another run (`{name}` was {before[name]!r})"
        state = self.trainer.state()
        for name in sorted(set(values) - _ABOUT_LATER ^ {*state, *_ABOUT}):
            what = "is unknown" if name in values else "is not there"
            return f"is not of these networks: {name} {what}"
        for name, variable in state.items():
            expected_shape, shape = tuple(variable.shape), values[name].shape
            if expected_shape != shape:
                return (
                    f"is not of these networks: {name} has shape {shape}, "
                    f"{variable.path} {expected_shape}"
                )
        return ""

    def save(self, step: int) -> None:
        """Saves after `step` steps, unless it is saved already.

        Raises:
          TrainingDiverged: a weight is not a number; nothing is written.
          UserError: the disk is full or the folder cannot be written.
        """
        if step == self._saved:
            return
        values = self.finite_values()
        values |= {
            "step": np.int64(step),
            "best_health": np.float64(self.best_health),
            "answers_deg": self.answers_deg,
            "format": np.int64(FORMAT),
            "settings": np.array(json.dumps(self.settings)),
        }
        with files.atomic_stream(self.folder / f"step-{step}.npz") as stream:
            np.savez(stream, allow_pickle=False, **values)
        self._saved = step
        for old in checkpoint_paths(self.folder)[: -self.keep]:
            old.unlink(missing_ok=True)

    def finite_values(self) -> dict[str, Any]:
        """All that trains, NumPy arrays by name.

        Raises:
          TrainingDiverged: a weight is not a number.
        """
        state = self.trainer.state()
        values: dict[str, Any] = {name: np.asarray(v.numpy()) for name, v in state.items()}
        for name, value in values.items():
            if not np.all(np.isfinite(value)):
                latest = self.latest()
                remains = f"{latest} remains" if latest else "no checkpoint was saved yet"
                raise TrainingDiverged(
                    f"weight {state[name].path} ({name}) not a number; {remains}"
                )
        return values


def checkpoint_paths(folder: Path) -> list[Path]:
    """Checkpoints in a folder, oldest first."""
    named = (path for path in folder.glob("step-*.npz") if _NAME.fullmatch(path.name))
    return sorted(named, key=step_of)


def step_of(path: Path) -> int:
    """The step a checkpoint was saved at."""
    return int(path.stem.removeprefix("step-"))


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint by name."""
    with open(path, "rb") as stream:
        if stream.read(2) != b"PK":  # np.load would take an array or a pickle for what they are
            raise ValueError("not an npz file")
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
