"""Writes a web page that runs a run's model in the browser, ready to serve.

  python -m ssv_tf.export.web --run=RUN --out=DIR        or --preset=NAME
  python -m http.server --directory DIR 8000             then open http://localhost:8000

The page takes a dropped picture, a sample or the camera, and draws angles and axes, and the
confidence where the model tells one. Everything runs on the visitor's device.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from ssv_tf.base import cli
from ssv_tf.base.errors import FlagError, UserError


def define_flags() -> None:
    """Registers this command's flags."""
    flags.DEFINE_string("run", None, "Folder of a trained run.")
    flags.DEFINE_string("preset", None, "Name of a run that came with the package.")
    flags.DEFINE_string("out", None, "Folder to write to.")
    flags.DEFINE_string(
        "model", None, "A .tflite of this run that ssv_tf.export wrote; empty: fp16 is made."
    )
    flags.DEFINE_string("name", None, "What the page calls the model; empty: the run's name.")
    flags.DEFINE_string(
        "samples",
        None,
        "Folder of pictures to offer, for all to see; empty: rendered cars, unless they are new "
        "to the model.",
    )
    flags.DEFINE_bool("overwrite", False, "Replace a page that this command wrote to --out.")


def main(argv: Sequence[str]) -> None:
    """Parses, writes, prints."""
    values = flags.FLAGS
    if argv[1:]:
        raise FlagError(f"unexpected argument {argv[1]!r}; every option is a --flag")
    out = _checked_out(values.out, values.overwrite)

    from ssv_tf.export import about, saved_model
    from ssv_tf.export.web import site
    from ssv_tf.training import run_folder

    run = run_folder.load(values.run, preset=values.preset)
    run_folder.say_if_supervised(run.options)
    name = values.name or run.preset or run.path.resolve().name
    samples = site.folder_samples(Path(values.samples)) if values.samples else None
    with saved_model.staged_folder(out) as stage:
        known = about.of_run(run)
        doubt = _write_model(run, values.model, stage / site.MODEL, known)
        if samples is None:
            samples = _familiar(site.rendered_cars(), run, stage / site.MODEL)
        site.write(stage, out.name, name, run.options, doubt, known.limits, samples)
    _print_result(out, doubt)


def _familiar(samples: list[Any], run: Any, model: Path) -> list[Any]:
    """The samples that the model does not find new: of others it would warn, whatever they show."""
    import numpy as np

    from ssv_tf.export import tflite
    from ssv_tf.export.names import NOVELTY

    squares = np.stack([run.options.framing.read(sample.jpeg) for sample in samples])
    novelty = tflite.Predictor(model).outputs(squares).get(NOVELTY)
    if novelty is None:
        return samples
    kept = [sample for sample, value in zip(samples, novelty[:, 0], strict=True) if value <= 1]
    if len(kept) < len(samples):
        print(
            f"{len(kept)} of {len(samples)} rendered cars look like this model's pictures and are "
            "offered as samples; --samples=FOLDER offers pictures of yours",
            file=sys.stderr,
        )
    return kept


def _checked_out(out: str | None, overwrite: bool) -> Path:
    from ssv_tf.export.web import site

    if not out:
        raise FlagError("--out=FOLDER is missing")
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise FlagError(f"--out={out} is a file")
    if folder.is_dir() and any(folder.iterdir()):
        if not site.is_page(folder):
            raise FlagError(f"--out={out} holds other things; give a new or empty folder")
        if not overwrite:
            raise FlagError(f"{out} exists; give --overwrite to replace it, or another name")
    return folder


def _write_model(run: Any, given: str | None, path: Path, known: Any) -> str:
    """Writes the .tflite; what a visitor must know of its angles, or nothing."""
    calibration = run.calibration()
    if given:
        _copy_model(Path(given), path, run.options.framing.resolution)
    else:
        _convert(run, calibration, path, known)
    doubts = []
    if calibration is None:
        doubts.append(
            "This model is not calibrated: its angles are the network's own, not yet those "
            "explained below."
        )
    if run.options.pictures.supervised:
        doubts.append(f"This model is {run.options.training}, trained from labels.")
    return " ".join(doubts)


def _convert(run: Any, calibration: Any, path: Path, known: Any) -> None:
    from ssv_tf.export import tflite
    from ssv_tf.export.fold import FoldedViewpoint

    folded = FoldedViewpoint(run.analysis(), calibration)
    tflite.write(folded, "fp16", path, about=known)


def _copy_model(given: Path, path: Path, resolution: int) -> None:
    """Copies a .tflite that answers a picture of the run's size with a viewpoint."""
    import numpy as np

    from ssv_tf.export import tflite

    if not given.is_file():
        raise UserError(f"--model={given}: no such file")
    try:
        content = given.read_bytes()
    except OSError as error:
        raise UserError(f"--model={given} cannot be read: {error.strerror}") from error
    if content[4:8] != b"TFL3":
        raise UserError(f"--model={given} is not a TFLite file")
    grey = np.full((1, resolution, resolution, 3), 127, np.uint8)
    try:
        degrees = tflite.Predictor(content)(grey)
    except (UserError, ValueError, RuntimeError) as error:
        raise UserError(f"--model={given} is not a model of this run: {error}") from error
    if degrees.shape != (1, 3) or not np.isfinite(degrees).all():
        raise UserError(f"--model={given} answers {degrees} for a grey picture of this run's size")
    shutil.copyfile(given, path)


def _print_result(out: Path, doubt: str) -> None:
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if doubt:
        print(f"warning: {doubt}", file=sys.stderr)
    print(f"{out}: {size / 1e6:.1f} MB; to look at it:")
    print(f"python -m http.server --directory {out} 8000    # http://localhost:8000")


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
