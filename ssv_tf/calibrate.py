"""Turns a run's own angles into the convention's, from about 100 labelled pictures.

  python -m ssv_tf.calibrate --run=RUN --data_dir=DIR --labels=CSV

Without --data_dir a run on the embedded cars is calibrated on their calibration split. Writes
RUN/calibration.json, which evaluate, predict and export then use.
"""

import sys
from collections.abc import Sequence

from absl import flags

from ssv_tf.base import cli  # first: it says in one line why Keras does not load

# isort: split
from ssv_tf.api.model import ViewpointModel
from ssv_tf.base import files
from ssv_tf.base.errors import FlagError
from ssv_tf.data.collection import PictureSet
from ssv_tf.evaluation import calibration, labelled
from ssv_tf.training import run_folder


def define_flags() -> None:
    """Registers this command's flags."""
    labelled.define_flags()
    flags.DEFINE_integer("count", 100, "Labelled pictures to fit, at most.", lower_bound=5)
    flags.DEFINE_enum(
        "azimuth",
        "auto",
        ["auto", *calibration.KINDS],
        "circular: sign and offset, for a full circle; symmetric: sign, and offset 0 or 180; "
        "linear: a straight line, for a limited range; auto: as the run was trained.",
    )
    flags.DEFINE_string("out", "", "JSON to write; empty: RUN/calibration.json.")
    flags.DEFINE_bool("overwrite", False, "Replace a calibration that exists.")


def main(argv: Sequence[str]) -> None:
    """Fits, prints the fit and writes it."""
    values = flags.FLAGS
    labelled.check_flags(argv, values)
    run = run_folder.load(values.run or None, values.preset or None)
    if values.preset and not values.out:
        raise FlagError("--preset needs --out: a preset's own calibration stays as it is")
    out = files.refuse_existing(values.out or run.path / calibration.FILE_NAME, values.overwrite)
    pictures, _ = labelled.draw(_pictures(run, values), values.count, values.seed)
    result = ViewpointModel(run).calibrate(pictures, azimuth=values.azimuth, save=False)
    for doubt in result.doubts:
        print(f"warning: {cli.with_flags(doubt)}", file=sys.stderr)
    print(f"calibrated on {result.pictures} pictures")
    print(result.table())
    print(result.calibration.save(out))


def _pictures(run: run_folder.Run, values: flags.FlagValues) -> PictureSet:
    if values.data_dir:
        return labelled.folder_pictures(run.options.framing, values, labelled.form_of(values))
    return labelled.embedded_pictures(run.options, "calibration")


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
