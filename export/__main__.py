"""Exports a run: `python -m ssv_tf.export --run=RUN --out=DIR`, or `--preset=NAME`."""

import dataclasses
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from ssv_tf.base import cli
from ssv_tf.base.errors import FlagError
from ssv_tf.data import read_policy
from ssv_tf.export.formats import FORMATS, INPUTS, Settings


def define_flags() -> None:
    """Registers the command's flags."""
    from ssv_tf.export import about

    default = Settings()
    about.define_flags()
    flags.DEFINE_string("run", None, "Folder of a trained run.")
    flags.DEFINE_string("preset", None, "Name of a run that came with the package.")
    flags.DEFINE_string("out", None, "Folder to write to.")
    flags.DEFINE_list("formats", list(default.formats), f"What to write, of {', '.join(FORMATS)}.")
    flags.DEFINE_string(
        "data_dir",
        None,
        "Folder of pictures that set the ranges of int8 and are compared on; empty: what the run "
        "was trained on or, where that is not here, what its S draws.",
    )
    read_policy.define_flags(rows=False)
    flags.DEFINE_enum(
        "input",
        default.input,
        list(INPUTS),
        "Type of the .tflite input, 0..255 in both; int8 files always take uint8.",
    )
    flags.DEFINE_integer(
        "batch",
        default.batch,
        "Pictures a call of a .tflite; 0: open, which is slower.",
        lower_bound=0,
    )
    flags.DEFINE_string(
        "serving_name", default.serving_name, "What clients of TF Serving call the model."
    )
    flags.DEFINE_integer("seed", default.seed, "Seed of which pictures are drawn.", lower_bound=0)
    flags.DEFINE_bool("overwrite", False, "Replace what an earlier export wrote to --out.")


def main(argv: Sequence[str]) -> None:
    """Parses, exports, prints."""
    values = flags.FLAGS
    if argv[1:]:
        raise FlagError(f"unexpected argument {argv[1]!r}; every option is a --flag")
    settings = _settings(values)
    if not values.out:
        raise FlagError("--out=FOLDER is missing")
    from ssv_tf.export import about, exporter
    from ssv_tf.training import run_folder

    exporter.check_out(Path(values.out), settings.formats, values.overwrite)
    run = run_folder.load(values.run, preset=values.preset)
    run_folder.say_if_supervised(run.options)
    exported = exporter.export(
        run,
        Path(values.out),
        settings,
        data_dir=values.data_dir,
        details={name: values[name].value for name in about.FLAGS},
        overwrite=values.overwrite,
        say=_to_stderr,
    )
    print(exported)
    for warning in exported.warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _settings(values: flags.FlagValues) -> Settings:
    names = {field.name for field in dataclasses.fields(Settings)} & set(values)
    given: dict[str, Any] = {name: values[name].value for name in names}
    if re.fullmatch("[1-9][0-9]*", values.version):
        given["serving_version"] = int(values.version)
    return Settings.of(**given)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
