"""Exports a run: `python -m ssv_tf.export --run=RUN --out=DIR`, or `--preset=NAME`."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from absl import flags

from ssv_tf.base import cli
from ssv_tf.base.errors import FlagError, UserError
from ssv_tf.data import read_policy

TFLITE_FORMATS = ("fp32", "fp16", "dynamic", "int8", "int8_full")
FORMATS = (*TFLITE_FORMATS, "saved_model", "serving")
DEFAULT_FORMATS = ("fp32", "fp16", "dynamic", "int8", "saved_model")
TABLES = ("parity.json", "parity.md")
CARD = "model_card.md"


def define_flags() -> None:
    """Registers the command's flags."""
    from ssv_tf.export import about

    about.define_flags()
    flags.DEFINE_string("run", None, "Folder of a trained run.")
    flags.DEFINE_string("preset", None, "Name of a run that came with the package.")
    flags.DEFINE_string("out", None, "Folder to write to.")
    flags.DEFINE_list("formats", list(DEFAULT_FORMATS), f"What to write, of {', '.join(FORMATS)}.")
    flags.DEFINE_integer(
        "representative", 200, "Pictures that set the ranges of int8.", lower_bound=1
    )
    flags.DEFINE_integer(
        "parity_pictures", 200, "Pictures each file is compared with Keras on.", lower_bound=1
    )
    flags.DEFINE_string(
        "data_dir", None, "Folder of pictures for both; empty: what the run was trained on."
    )
    read_policy.define_flags(rows=False)
    flags.DEFINE_enum(
        "input",
        "uint8",
        ["uint8", "float"],
        "Type of the .tflite input, 0..255 in both; int8 files always take uint8.",
    )
    flags.DEFINE_integer(
        "batch", 1, "Pictures a call of a .tflite; 0: open, which is slower.", lower_bound=0
    )
    flags.DEFINE_string("serving_name", "viewpoint", "What clients of TF Serving call the model.")
    flags.DEFINE_integer("serving_version", 1, "Its version for TF Serving.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Seed of which pictures are drawn.", lower_bound=0)
    flags.DEFINE_bool("overwrite", False, "Replace what an earlier export wrote to --out.")


def main(argv) -> None:
    """Parses, exports, prints."""
    values = flags.FLAGS
    if argv[1:]:
        raise FlagError(f"unexpected argument {argv[1]!r}; every option is a --flag")
    formats = _checked_formats(values.formats)
    if "serving" in formats:
        from ssv_tf.export.serving import configs

        configs.check(values.serving_name)
    out = _checked_out(values.out, formats, values.overwrite)

    from ssv_tf.export import about
    from ssv_tf.training import run_folder

    run = run_folder.load(values.run, preset=values.preset)
    told = about.of_run(run, values)
    run_folder.say_if_supervised(run.options)
    _start_tensorflow()
    pictures = _pictures(run.options, values)
    with _published(out, formats) as stage:
        rows, warnings = _export(run, told, stage, formats, pictures, values)
    _print_result(out, rows, warnings)


def _checked_formats(names: list[str]) -> list[str]:
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        raise FlagError(f"--formats={','.join(names)}: choose from {', '.join(FORMATS)}")
    return [name for name in FORMATS if name in names]


def _checked_out(out: str | None, formats: list[str], overwrite: bool) -> Path:
    from ssv_tf.base import files

    if not out:
        raise FlagError("--out=FOLDER is missing")
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise FlagError(f"--out={out} is a file")
    for name in _names(formats):
        path = files.refuse_existing(folder / name, overwrite)
        if path.exists() and path.is_dir() == bool(path.suffix):
            raise FlagError(f"{path} is not of an earlier export; move it away")
    return folder


def _file_name(name: str) -> str:
    return f"model_{name}.tflite" if name in TFLITE_FORMATS else name


def _names(formats: list[str]) -> list[str]:
    return [*map(_file_name, formats), *TABLES, CARD]


def _start_tensorflow() -> None:
    """Imports it and finds its devices, whose messages are of no use to the reader."""
    from ssv_tf.base import stderr

    with stderr.captured() as written:
        try:
            import tensorflow as tf

            tf.zeros(()).numpy()
        except Exception as error:
            raise UserError(f"TensorFlow does not start: {error} {written()[-500:]}") from error


def _pictures(options, values):
    """uint8 ([n, r, r, 3] to set ranges, [m, r, r, 3] to compare on), no picture in both."""
    import numpy as np

    from ssv_tf.data import sources

    wanted = values.representative + values.parity_pictures
    spec = values.data_dir or options.pictures.data
    try:
        found = sources.load_collection(
            spec,
            split="test" if spec == sources.EMBEDDED else "train",
            **options.framing.to_dict(),
            limit=wanted,
            seed=values.seed,
            bad_pictures=values.bad_pictures,
        )
    except FlagError:
        raise
    except UserError as error:
        hint = "" if values.data_dir else "; --data_dir=FOLDER gives other pictures"
        raise UserError(f"{error}{hint}") from error
    if len(found) < 2:
        raise UserError(f"{spec} has {len(found)} pictures; export needs at least two")
    images = found.images[np.random.default_rng(values.seed).permutation(len(found))]
    count = max(1, min(values.representative, len(images) * values.representative // wanted))
    return images[:count], images[count:]


@contextlib.contextmanager
def _published(out: Path, formats: list[str]) -> Iterator[Path]:
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


def _export(run, told, stage: Path, formats: list[str], pictures, values):
    from ssv_tf.base import files
    from ssv_tf.evaluation.calibration import Calibration
    from ssv_tf.export import card, parity
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
    representative, compared = pictures
    paths = {
        name: _write(folded, name, stage, representative, run.options, told, values)
        for name in formats
    }

    def keras_degrees(images):
        return inference.decode(inference.predict(analysis, images), calibration).degrees

    def keras_confidence(images):
        return inference.decode(inference.predict(analysis, images), calibration).confidence

    sure = keras_confidence if calibration.confidence else None
    rows = parity.parity_table(keras_degrees, paths, compared, sure)
    rows = [{"training": run.options.training} | row for row in rows]
    for row in rows:
        row["file"] = str(paths[row["format"]].relative_to(stage))
    warnings += parity.doubts(rows)
    mark = f"{run.options.training}\n\n" if run.options.pictures.supervised else ""
    files.write_atomically(stage / TABLES[0], parity.to_json(rows))
    files.write_atomically(stage / TABLES[1], mark + parity.to_markdown(rows))
    files.write_atomically(stage / CARD, card.markdown(told, run.options, rows, paths))
    return rows, warnings


def _write(folded, name: str, stage: Path, representative, options, told, values) -> Path:
    from ssv_tf.export import saved_model, tflite

    path = stage / _file_name(name)
    print(f"writing {path.name} ...", file=sys.stderr, flush=True)
    if name == "saved_model":
        return saved_model.write(folded, path, options.framing)
    if name == "serving":
        from ssv_tf.export.serving import layout

        called, version = values.serving_name, values.serving_version
        return layout.write(folded, path, representative, options.framing, called, version)
    batch = values.batch or None
    return tflite.write(folded, name, path, representative, values.input, batch, told)


def _print_result(out: Path, rows: list[dict], warnings: list[str]) -> None:
    from ssv_tf.export import parity

    print(f"distance from Keras in degrees, on {rows[0]['pictures']} pictures")
    print(parity.to_markdown(rows), end="")
    for row in rows:
        print(out / row["file"])
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
