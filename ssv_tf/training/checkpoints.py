"""Checkpoints of either engine: step, networks and their averages, all optimizers, the prior.

checkpoints/step-N.npz holds plain NumPy arrays by name, so that a run one engine began another
can go on with. Data order and random numbers are functions of (seed, step), so the step is their
position too.
"""

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ssv_tf import files
from ssv_tf.errors import TrainingDiverged, UserError

_NAME = re.compile(r"step-(\d+)\.npz")
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class Checkpoints:
    """Saves and restores a Trainer in a folder, keeping the last few.

    Args:
      folder: checkpoints/ of the run.
      trainer: an engine's Trainer; gives `state()`, takes `restore(values)`.
      keep: how many stay.

    Attributes:
      best_health: the best health so far, saved with the rest.
    """

    def __init__(self, folder, trainer, keep):
        self.folder, self.trainer, self.keep = Path(folder), trainer, keep
        self.best_health = 0.0
        self._saved: int | None = None

    def latest(self) -> Path | None:
        """The newest checkpoint, or None."""
        found = self._found()
        return found[-1] if found else None

    def restore(self) -> int:
        """Restores the newest checkpoint that can be read; returns its step, 0 for none.

        Newer ones that cannot be read are renamed to NAME.damaged.

        Raises:
          UserError: there are checkpoints and none fits these networks.
        """
        damaged: dict[Path, str] = {}
        for path in reversed(self._found()):
            try:
                values = _read(path, self.trainer.state())
            except _UNREADABLE as error:
                reason = str(error).strip().splitlines() or [type(error).__name__]
                damaged[path] = f"{path.name}: {reason[0][:200]}"
                continue
            for other in damaged:
                other.rename(f"{other}.damaged")
            self.best_health = float(values.pop("best_health"))
            self._saved = int(values.pop("step"))
            self.trainer.restore(values)
            return self._saved
        if damaged:
            first = next(iter(damaged.values()))
            raise UserError(f"no checkpoint in {self.folder} can be restored; {first}")
        if any(self.folder.glob("ckpt-*.index")):
            raise UserError(
                f"{self.folder} holds checkpoints of an earlier version; give --overwrite to start "
                "anew, or another --run_dir"
            )
        return 0

    def save(self, step: int) -> None:
        """Saves after `step` steps, unless it is saved already.

        Raises:
          TrainingDiverged: a weight is not a number; nothing is written.
          UserError: the disk is full or the folder cannot be written.
        """
        if step == self._saved:
            return
        state = self.trainer.state()
        values: dict[str, Any] = {name: np.asarray(v.numpy()) for name, v in state.items()}
        for name, value in values.items():
            if not np.all(np.isfinite(value)):
                raise TrainingDiverged(
                    f"weight {state[name].path} ({name}) is not a number; the last good "
                    "checkpoint remains"
                )
        values |= {"step": np.int64(step), "best_health": np.float64(self.best_health)}
        with files.atomic_stream(self.folder / f"step-{step}.npz") as stream:
            np.savez(stream, allow_pickle=False, **values)
        self._saved = step
        for old in self._found()[: -self.keep]:
            old.unlink(missing_ok=True)

    def _found(self):
        """Checkpoints, oldest first."""
        numbered = ((_NAME.fullmatch(path.name), path) for path in self.folder.glob("step-*.npz"))
        return [path for _, path in sorted((int(m[1]), path) for m, path in numbered if m)]


def _read(path, state):
    """The arrays of a checkpoint by name, each of the shape `state` wants."""
    with np.load(path, allow_pickle=False) as archive:
        values = {name: archive[name] for name in archive.files}
    for name in set(values) ^ {*state, "step", "best_health"}:
        raise ValueError(f"{name} is {'not there' if name in state else 'unknown'}")
    for name, variable in state.items():
        if values[name].shape != tuple(variable.shape):
            raise ValueError(
                f"{name} has shape {values[name].shape}, {variable.path} {tuple(variable.shape)}"
            )
    return values
