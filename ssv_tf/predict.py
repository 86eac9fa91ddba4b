"""Tells the viewpoint of pictures: a CSV or JSON table, and pictures with the axes drawn.

  python -m ssv_tf.predict --run=RUN photos/ extra.jpg "more/*.png" --out=angles.csv --draw_dir=DIR

Pictures that cannot be read are named on stderr, skipped and counted; --bad_pictures=stop ends at
the first, before anything is written.
"""

import csv
import dataclasses
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import flags

from ssv_tf.base import cli, files
from ssv_tf.base.errors import FlagError, UserError
from ssv_tf.data import folder, patterns, read_policy
from ssv_tf.evaluation import calibration, drawing
from ssv_tf.evaluation.calibration import Calibration
from ssv_tf.models import inference
from ssv_tf.models.decoding import Viewpoints
from ssv_tf.training import config, run_folder

COLUMNS = ("filename", "azimuth_deg", "elevation_deg", "tilt_deg")
# The last column, where the run's calibration can tell it.
CONFIDENCE = "confidence"

_AT_ONCE = 512  # pictures in memory
_LONGEST_STEM = 200  # bytes; a file's name has at most 255


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One line of the table.

    Attributes:
      path: the file.
      degrees: calibrated, [3].
      confidence: probability that the azimuth is right; None where the calibration cannot tell.
    """

    path: Path
    degrees: np.ndarray
    confidence: float | None = None

    def row(self) -> dict[str, str | float]:
        """The line, degrees to two decimals (-0.00 is 0.00), confidence to three."""
        rounded = (round(float(angle), 2) + 0.0 for angle in self.degrees)
        cells: list[str | float] = [files.printable(self.path), *rounded]
        row = dict(zip(COLUMNS, cells, strict=True))
        return row if self.confidence is None else row | {CONFIDENCE: round(self.confidence, 3)}


def define_flags() -> None:
    """Registers this command's flags."""
    flags.DEFINE_string("run", "", "Folder of a trained run.")
    flags.DEFINE_string("preset", "", "Name of a run that came with the package.")
    flags.DEFINE_string("out", "", "Table to write, .csv or .json; empty: CSV on stdout.")
    flags.DEFINE_string("draw_dir", "", "Folder for the pictures with axes drawn; empty: none.")
    flags.DEFINE_bool("overwrite", False, "Replace files that exist.")
    read_policy.define_flags(rows=False)


def main(argv) -> None:
    """Predicts, writes the table and the drawings; UserError where no picture could be read."""
    values = flags.FLAGS
    if len(argv) < 2:
        raise FlagError("name at least one picture, folder or glob")
    if values.out:
        _check_table(values.out, values.overwrite)
    paths, missing = find(argv[1:])
    ledger = _Ledger(values.bad_pictures)
    for word in missing:
        ledger.skip(word, "no picture there" if os.path.isdir(word) else _why_missing(word))
    drawn = _drawn_paths(paths, values.draw_dir, values.overwrite)
    run = run_folder.load(values.run or None, values.preset or None)
    run_folder.say_if_supervised(run.options)
    predictions: list[Prediction] = []
    for part in predict_files(paths, _predictor(run), _reader(run.options), ledger.skip):
        predictions += part
        if drawn and values.bad_pictures == read_policy.SKIP:
            _draw_all(part, drawn)
    if not predictions:
        raise UserError(f"none of the {len(ledger.skipped)} pictures could be read")
    if (
        drawn and values.bad_pictures == read_policy.STOP
    ):  # all can be read: nothing was written before
        _draw_all(predictions, drawn)
    _write(predictions, values.out)
    if drawn:
        print(f"{values.draw_dir}: {len(predictions)} pictures drawn", file=sys.stderr)
    if ledger.skipped:
        counted = f"{len(ledger.skipped)} skipped, {len(predictions)} predicted"
        print(f"{counted} ({read_policy.counts(ledger.skipped)})", file=sys.stderr)


class _Ledger:
    """Pictures that could not be used: named on stderr as they come, or the first ends it all."""

    def __init__(self, policy: str):
        self.policy = policy
        self.skipped: list[tuple[str, str]] = []

    def skip(self, path: str | os.PathLike, reason: str) -> None:
        name = files.printable(path)
        if self.policy == read_policy.STOP:
            read_policy.stop_at(name, reason)
        self.skipped.append((name, reason))
        print(f"skipped {files.one_line(name)}: {reason}", file=sys.stderr)


def find(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Files of the words on the command line, each once, in that order.

    Args:
      words: files, folders (searched all the way down) or globs (** too).

    Returns:
      (paths, the words that led to nothing).
    """
    found: dict[Path, None] = {}
    missing = []
    for word in words:
        paths = _expand(word)
        if not paths:
            missing.append(word)
        found.update(dict.fromkeys(paths))
    return list(found), missing


def predict_files(
    paths: Sequence[Path],
    predict: Callable[[np.ndarray], Viewpoints],
    read: Callable[[Path], np.ndarray],
    skip: Callable[[Path, str], None],
    at_once: int = _AT_ONCE,
) -> Iterator[list[Prediction]]:
    """Predicts files, a bounded number of pictures at a time.

    Args:
      paths: picture files.
      predict: uint8 [pictures, R, R, 3] -> calibrated viewpoints.
      read: file -> uint8 [R, R, 3]; raises `folder.BadPicture`.
      skip: told of each file that cannot be read, and why.
      at_once: pictures held in memory.

    Yields:
      predictions in the order of `paths`, of each part.
    """
    for start in range(0, len(paths), at_once):
        images, good = [], []
        for path in paths[start : start + at_once]:
            try:
                images.append(read(path))
                good.append(path)
            except folder.BadPicture as error:
                skip(path, str(error))
        yield _predictions(good, predict(np.stack(images))) if images else []


def _predictions(paths: Sequence[Path], views: Viewpoints) -> list[Prediction]:
    confidence = [None] * len(views) if views.confidence is None else map(float, views.confidence)
    return [Prediction(*row) for row in zip(paths, views.degrees, confidence, strict=True)]


def as_csv(predictions: Sequence[Prediction]) -> str:
    """The table as CSV text with a header."""
    stream = io.StringIO()
    plain = csv.writer(stream, lineterminator="\n")
    # Before Python 3.13 a carriage return in a name is not quoted by itself, and ends the row.
    quoting = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
    sure = any(prediction.confidence is not None for prediction in predictions)
    plain.writerow([*COLUMNS, CONFIDENCE] if sure else COLUMNS)
    for prediction in predictions:
        row = prediction.row()
        name, *degrees = (row[column] for column in COLUMNS)
        last = [f"{row[CONFIDENCE]:.3f}"] if sure else []
        writer = quoting if "\r" in str(name) else plain
        writer.writerow([name, *(f"{angle:.2f}" for angle in degrees), *last])
    return stream.getvalue()


def as_json(predictions: Sequence[Prediction]) -> str:
    """The table as a JSON list of objects with the same keys."""
    return json.dumps([prediction.row() for prediction in predictions], indent=1) + "\n"


def _expand(word: str) -> list[Path]:
    """A file that is there is taken by its name, even if that looks like a glob."""
    path = Path(word)
    if os.path.isdir(path):
        return folder.find_pictures(path)
    if os.path.lexists(path):  # a link to nothing too: reading it tells the reason
        return [path]
    return patterns.find_matches(word)


def _why_missing(word: str) -> str:
    try:
        os.stat(word)
    except OSError as error:
        return files.why_unreadable(error, word)
    except ValueError:  # a NUL
        pass
    return "no such file"


def _predictor(run: run_folder.Run) -> Callable[[np.ndarray], Viewpoints]:
    fitted = run.calibration()
    if fitted is None:
        print(
            f"warning: {run.path} has no {calibration.FILE_NAME}: these are V's own angles, not "
            "yet in the convention; see ssv_tf.calibrate",
            file=sys.stderr,
        )
        fitted = Calibration.identity()
    network = run.analysis()

    def predict(images: np.ndarray) -> Viewpoints:
        return inference.decode(inference.predict(network, images), fitted)

    return predict


def _reader(options: config.Options) -> Callable[[Path], np.ndarray]:
    """Reads a picture as the run's training pictures were read."""
    return options.framing.read


def _check_table(out: str, overwrite: bool) -> None:
    if Path(out).suffix.lower() not in (".csv", ".json"):
        raise FlagError(f"--out={out} must end in .csv or .json")
    files.refuse_existing(out, overwrite)


def _drawn_paths(paths: Sequence[Path], draw_dir: str, overwrite: bool) -> dict[Path, Path]:
    """Where each picture's drawing goes: its name, numbered where two pictures share it."""
    if not draw_dir:
        return {}
    drawn: dict[Path, Path] = {}
    used: set[str] = set()
    for path in paths:
        stem = os.fsdecode(os.fsencode(path.stem)[:_LONGEST_STEM])
        name, number = f"{stem}_axes.png", 2
        while name in used:
            name, number = f"{stem}_axes_{number}.png", number + 1
        used.add(name)
        drawn[path] = files.refuse_existing(Path(draw_dir) / name, overwrite)
    return drawn


def _draw_all(predictions: Sequence[Prediction], drawn: dict[Path, Path]) -> None:
    for prediction in predictions:
        _draw(prediction, drawn[prediction.path])


def _draw(prediction: Prediction, target: Path) -> None:
    try:
        picture = folder.read_picture(prediction.path, shortest=640)
    except folder.BadPicture as error:
        raise UserError(f"{prediction.path} has changed since it was read: {error}") from error
    stream = io.BytesIO()
    drawing.draw_viewpoint(picture, prediction.degrees).save(stream, "PNG")
    files.write_atomically(target, stream.getvalue())


def _write(predictions: Sequence[Prediction], out: str) -> None:
    if not out:
        sys.stdout.write(as_csv(predictions))
        return
    text = as_json(predictions) if out.lower().endswith(".json") else as_csv(predictions)
    print(files.write_atomically(out, text))


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
