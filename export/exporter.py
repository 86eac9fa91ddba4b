"""Exports a run: every format asked for, the parity table, the model card; all of it or nothing."""

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from ssv_tf import config
from ssv_tf.base import files, stderr
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.evaluation.calibration import Calibration
from ssv_tf.export.formats import TFLITE_FORMATS, VECTORS, Exported, Settings
from ssv_tf.models.decoding import Viewpoints
from ssv_tf.training import run_folder

if TYPE_CHECKING:
    from ssv_tf.export.about import About
    from ssv_tf.export.fold import FoldedViewpoint
    from ssv_tf.export.sample import Sample

TABLES = ("parity.json", "parity.md")
CARD = "model_card.md"
Say = Callable[[str], None]


def export(
    run: run_folder.Run,
    out: Path,
    settings: Settings,
    *,
    data_dir: str | None = None,
    images: np.ndarray | None = None,
    details: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    say: Say | None = None,
) -> Exported:
    """Writes a run's calibrated model into a folder, and compares each file with Keras.

    Args:
      run: the run.
      out: the folder; what stands there beside an export stays.
      settings: formats and how.
      data_dir: pictures to set ranges and compare on; see `sample.of_run` where there is neither.
      images: the same in memory, uint8 [n, R, R, 3].
      details: what else is known of the model (`about.of_run`).
      overwrite: replace what an earlier export wrote.
      say: gets a line on what is being written.

    Raises:
      UserError: something exists, cannot be read or written, or a file is not the model.
    """
    from ssv_tf.export import about

    check_out(out, settings.formats, overwrite)
    known = about.of_run(run, SimpleNamespace(**dict(details or {})))
    _start_tensorflow()
    pictures = _sample(run, settings, data_dir, images)
    with _published(out, settings.formats) as stage:
        rows, warnings = _write_all(run, known, stage, settings, pictures, say or _silent)
    paths = {row["format"]: out / row["file"] for row in rows}
    if VECTORS in settings.formats:
        paths[VECTORS] = out / VECTORS
    return Exported(out, paths, rows, pictures.source, tuple(warnings))


def check_out(out: Path, formats: Iterable[str], overwrite: bool) -> None:
    """Raises UserError where an export into `out` would meet what is there."""
    if out.exists() and not out.is_dir():
        raise SettingError(f"{out} is a file")
    for name in _names(formats):
        path = files.refuse_existing(out / name, overwrite)
        if path.exists() and path.is_dir() == bool(path.suffix):
            raise SettingError(f"{path} is not of an earlier export; move it away")


def _sample(
    run: run_folder.Run, settings: Settings, data_dir: str | None, images: np.ndarray | None
) -> "Sample":
    from ssv_tf.export import sample

    counts = settings.representative, settings.parity_pictures
    if images is not None:
        return sample.Sample.divided(images, counts, settings.seed, "pictures that were given")
    if data_dir:
        return sample.of_collection(run, data_dir, counts, settings.seed, settings.bad_pictures)
    return sample.of_run(run, counts, settings.seed, settings.bad_pictures)


def _silent(_line: str) -> None:
    pass


def _file_name(name: str) -> str:
    return f"model_{name}.tflite" if name in TFLITE_FORMATS else name


def _names(formats: Iterable[str]) -> list[str]:
    return [*map(_file_name, formats), *TABLES, CARD]


def _start_tensorflow() -> None:
    """Imports it and finds its devices, whose messages are of no use to the reader."""
    with stderr.captured() as written:
        try:
            import tensorflow as tf

            tf.zeros(()).numpy()
        except Exception as error:
            raise UserError(f"TensorFlow does not start: {error} {written()[-500:]}") from error


@contextlib.contextmanager
def _published(out: Path, formats: Iterable[str]) -> Iterator[Path]:
    """A folder beside `out` whose files move to `out` once all are there; none after an error."""
    from ssv_tf.export import saved_model

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as stage:
            try:
                yield Path(stage)
            except UserError as error:  # the person knows no other place than `out`
                raise UserError(str(error).replace(stage, str(out))) from error
            out.mkdir(exist_ok=True)
            for name in _names(formats):
                saved_model.replace(Path(stage, name), out / name)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror or error}") from error


def _write_all(
    run: run_folder.Run,
    known: "About",
    stage: Path,
    settings: Settings,
    pictures: "Sample",
    say: Say,
) -> tuple[list[dict], list[str]]:
    """Rows of the parity table, and warnings."""
    from ssv_tf.export import card, from_files, parity, sample, vectors
    from ssv_tf.export.fold import FoldedViewpoint
    from ssv_tf.models import inference

    warnings = []
    calibration = run.calibration()
    if calibration is None:
        warnings.append("the run has no calibration.json: the files answer V's own angles")
        calibration = Calibration.identity()
    analysis = run.analysis()
    if analysis.resolution != run.options.framing.resolution:
        raise UserError(
            f"{run.path}: options.json says {run.options.framing.resolution} px, but its "
            f"analysis.keras takes {analysis.resolution} px"
        )
    folded = FoldedViewpoint(analysis, calibration)
    paths = {}

    def answer(images):
        return inference.decode(inference.predict(analysis, images), calibration)

    for name in settings.formats:
        say(f"writing {_file_name(name)} ...")
        if name == VECTORS:
            drawn = sample.drawn(run, vectors.PICTURES, settings.seed)
            vectors.write(stage / VECTORS, answer, drawn, run.options.framing, known.name)
        else:
            paths[name] = _write(folded, name, stage, pictures, run.options, known, settings)
    rows = _compared(run, paths, pictures, answer)
    for row in rows:
        row["file"] = str(paths[row["format"]].relative_to(stage))
    ways = from_files.compared(
        lambda images: answer(images).degrees, paths, pictures.compared, run.options.framing
    )
    warnings += parity.doubts(rows) + from_files.doubts(ways)
    mark = "" if run.training == config.SELF_SUPERVISED else run.training
    files.write_atomically(stage / TABLES[0], parity.to_json(_with_ways(rows, ways)))
    files.write_atomically(stage / TABLES[1], parity.page(rows, mark, ways))
    files.write_atomically(stage / CARD, card.markdown(known, run.options, rows, paths))
    return rows, warnings


def _compared(
    run: run_folder.Run,
    paths: Mapping[str, Path],
    pictures: "Sample",
    answer: Callable[[np.ndarray], Viewpoints],
) -> list[dict]:
    from ssv_tf.export import parity

    rows = parity.parity_table(answer, paths, pictures.compared)
    about = {"training": run.training}
    return [about | row | {"pictures_from": pictures.source} for row in rows]


def _with_ways(rows: list[dict], ways: Mapping[str, Any]) -> list[dict]:
    """The rows, each with its comparison from files; a SavedModel has two."""
    return [
        row
        | {
            "from_files": {
                way.removeprefix(row["format"]).strip() or "squares": comparison
                for way, comparison in ways.items()
                if way.split()[0] == row["format"]
            }
        }
        for row in rows
    ]


def _write(
    folded: "FoldedViewpoint",
    name: str,
    stage: Path,
    pictures: "Sample",
    options: config.Options,
    known: "About",
    settings: Settings,
) -> Path:
    from ssv_tf.export import saved_model, tflite

    path = stage / _file_name(name)
    if name == "saved_model":
        return saved_model.write(folded, path, options.framing)
    if name == "serving":
        from ssv_tf.export.serving import layout

        called, version = settings.serving_name, settings.serving_version
        return layout.write(folded, path, pictures.representative, options.framing, called, version)
    batch = settings.batch or None
    return tflite.write(folded, name, path, pictures.representative, settings.input, batch, known)
