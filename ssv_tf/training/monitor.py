"""What a run tells while it trains: progress bar, metrics.jsonl, TensorBoard, pictures."""

import io
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from ssv_tf.base import files, stderr

_SHOWN = ("v_viewpoint", "s_viewpoint", "v_symmetry", "real_score", "fake_score")


class Monitor:
    """Collects the parts of every step and writes them where a person or a program looks.

    Args:
      folder: the run folder.
      first_step: steps done already (a resumed run).
      steps: steps in all.
      quiet: no progress bar.
    """

    def __init__(self, folder: Path, first_step: int, steps: int, quiet: bool = False) -> None:
        self.folder = folder
        self.log = (folder / "metrics.jsonl").open("a", buffering=1)
        self.board = _board(folder / "tensorboard")
        self.bar = tqdm(
            total=steps, initial=first_step, unit="step", disable=quiet, mininterval=2,
            file=sys.stderr, dynamic_ncols=True,
        )  # fmt: skip
        self._sums: dict[str, tuple[float, int]] = {}
        self._count, self._began = 0, time.monotonic()
        self._paused = self._latest_seconds = 0.0
        self._lasting: dict[str, float] = {}

    def add(self, parts: dict[str, float]) -> None:
        """Takes one step's losses."""
        for name, value in parts.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value, count + 1)
        self._count += 1
        self.bar.update()

    def flush(self, step: int) -> dict[str, float]:
        """Writes the means since the last flush; returns them."""
        means = {name: total / count for name, (total, count) in self._sums.items()}
        means["seconds_per_step"] = self._latest_seconds = max(self._seconds(), 1e-9)
        self.record(step, means)
        displayed = self._lasting | {name: means[name] for name in _SHOWN if name in means}
        self.bar.set_postfix_str(" ".join(f"{k}={v:.3g}" for k, v in displayed.items()))
        self._sums, self._count = {}, 0
        self._began, self._paused = time.monotonic(), 0.0
        return means

    def when(self, step: int) -> str:
        """A step, of how many, and about how long the rest takes."""
        seconds = self._seconds()
        rest = (self.bar.total - step) * seconds
        if not seconds or rest <= 0:
            return f"step {step} of {self.bar.total}"
        left = f"{rest / 60:.0f} minutes" if rest >= 90 else f"{rest:.0f} seconds"
        return f"step {step} of {self.bar.total}, about {left} left"

    def _seconds(self) -> float:
        """Of a step lately; 0 where none was timed."""
        if self._count:
            return (time.monotonic() - self._began - self._paused) / self._count
        return self._latest_seconds

    def show(self, name: str, value: float) -> None:
        """Keeps a value on the progress bar until it is shown anew."""
        self._lasting[name] = value

    def pause(self, seconds: float) -> None:
        """Takes time that no step used (pictures, scores, checkpoints) out of the step time."""
        self._paused += seconds

    def record(self, step: int, values: dict[str, float], kind: str = "train") -> None:
        """One line of metrics.jsonl and the scalars of TensorBoard."""
        rounded = {name: float(f"{value:.6g}") for name, value in values.items()}
        self.log.write(json.dumps({"step": step, "kind": kind, **rounded}) + "\n")
        for name, value in values.items():
            if math.isfinite(value):
                self.board.add("scalar", f"{kind}/{name}", value, step)

    def latest(self, name: str, content: bytes) -> Path:
        """Writes pictures/NAME over the one before."""
        return files.write_atomically(self.folder / "pictures" / name, content)

    def picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """Writes pictures/NAME_STEP.png and shows it in TensorBoard."""
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        path = self.folder / "pictures" / f"{name}_{step:06d}.png"
        files.write_atomically(path, buffer.getvalue())
        self.board.add("image", name, picture[None], step)

    def histogram(self, step: int, name: str, values: np.ndarray) -> None:
        """A TensorBoard histogram."""
        self.board.add("histogram", name, values, step)

    def say(self, text: str) -> None:
        """A line above the progress bar."""
        if self.bar.disable:
            print(text, flush=True)
        else:
            self.bar.write(text)

    def close(self) -> None:
        """Ends the bar and the files."""
        self.bar.close()
        self.board.close()
        self.log.close()


class _NoBoard:
    """Where TensorFlow, which writes TensorBoard's files, is not installed."""

    def add(self, kind: str, name: str, value: Any, step: int) -> None:
        pass

    def close(self) -> None:
        pass


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._summary, self._writer = tf.summary, tf.summary.create_file_writer(str(folder))

    def add(self, kind: str, name: str, value: Any, step: int) -> None:
        """Writes a "scalar", "image" or "histogram"."""
        with self._writer.as_default(step=step):
            getattr(self._summary, kind)(name, value)

    def close(self) -> None:
        self._writer.close()


def _board(folder: Path) -> _TensorBoard | _NoBoard:
    try:
        with stderr.captured():
            return _TensorBoard(folder)
    except ImportError:
        return _NoBoard()


def drop_later_records(path: Path, step: int) -> None:
    """Cuts metrics.jsonl back to `step`, so that a resumed run does not log a step twice."""
    if not path.is_file():
        return
    lines = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                lines.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue  # half a line of a killed run
    files.write_atomically(path, "".join(lines))
