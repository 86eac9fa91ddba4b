"""Turns a run's own angles into the convention's, from about 100 labelled pictures.

  python -m ssv_tf.calibrate --run=RUN --data_dir=DIR --labels=CSV

Without --data_dir a run on the embedded cars is calibrated on their calibration split. Writes
RUN/calibration.json, which evaluate, predict and export then use.
"""

import sys
from pathlib import Path

import numpy as np
from absl import flags

from ssv_tf import viewpoint
from ssv_tf.base import cli, files
from ssv_tf.base.errors import FlagError
from ssv_tf.evaluation import calibration, labelled
from ssv_tf.models.decoding import RawPrediction
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


def main(argv) -> None:
    """Fits, prints the fit and writes it."""
    values = flags.FLAGS
    labelled.check_flags(argv, values)
    run = run_folder.load(values.run or None, values.preset or None)
    if values.preset and not values.out:
        raise FlagError("--preset needs --out: a preset's own calibration stays as it is")
    run_folder.say_if_supervised(run.options)
    out = files.refuse_existing(values.out or run.path / calibration.FILE_NAME, values.overwrite)
    raw, true_deg = _predictions(run, values)
    print(f"calibrated on {len(raw)} pictures")
    print(fit_and_save(raw, true_deg, _azimuth(values.azimuth, run), out))


def fit_and_save(raw: RawPrediction, true_deg: np.ndarray, azimuth: str, out: Path) -> str:
    """Fits, warns on stderr, writes `out`; returns the table to print.

    Args:
      raw, true_deg: as `calibration.fit` takes them.
      azimuth: one of calibration.KINDS.
      out: JSON to write.
    """
    fitted = calibration.fit(raw, true_deg, azimuth)
    for doubt in fitted.doubts:
        print(f"warning: {doubt}", file=sys.stderr)
    return f"{table(fitted)}\n{fitted.save(out)}"


def table(fitted: calibration.Calibration) -> str:
    """The fit, a line an angle."""
    lines = [f"{'':<10}{'kind':>10}{'scale':>9}{'offset':>10}{'median error':>15}"]
    for i, name in enumerate(viewpoint.ANGLES):
        if name in fitted.uncalibrated:
            lines.append(f"{name:<10}{'as it is':>10}: too few labels know it")
            continue
        residual = fitted.residual_deg[i]
        shown = "" if residual is None else f"{residual:.1f} deg"
        lines.append(
            f"{name:<10}{fitted.kinds[i]:>10}{fitted.scale[i]:>9.3f} "
            f"{fitted.offset_deg[i]:>6.1f} deg{shown:>15}"
        )
    if fitted.azimuth_warp != calibration.NO_WARP:
        low, high = calibration.warped(np.array([30.0, 60.0]), fitted.azimuth_warp)
        lines.append(f"azimuth's quarters are warped: 30 becomes {low:.0f}, 60 becomes {high:.0f}")
    return "\n".join(lines)


def _predictions(run: run_folder.Run, values) -> tuple[RawPrediction, np.ndarray]:
    if values.data_dir:
        pictures = labelled.folder_pictures(run.options, values)
    else:
        pictures = labelled.embedded_pictures(run.options, "calibration")
    drawn, _ = labelled.draw(pictures, values.count, values.seed)
    return labelled.predictor(run)(drawn.images), labelled.angles_deg(drawn)


def _azimuth(asked: str, run: run_folder.Run) -> str:
    return calibration.azimuth_kind(run.options) if asked == "auto" else asked


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
