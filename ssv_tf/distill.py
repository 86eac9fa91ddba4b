"""Makes a phone-size student of a run: a run folder of its own, for every other command.

  python -m ssv_tf.distill --run=RUN --out=runs/phone
  python -m ssv_tf.calibrate --run=runs/phone --overwrite ...   # also makes it tell how sure it is
  python -m ssv_tf.export --run=runs/phone --out=exported

No label is read: V teaches on unlabelled pictures, and S draws more with known viewpoints. The
run's calibration is copied, as the student answers in V's own angles. Ctrl-C loses nothing but the
last hundred steps: the same command goes on.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from ssv_tf import viewpoint
from ssv_tf.api.model import ViewpointModel
from ssv_tf.base import cli
from ssv_tf.base.errors import FlagError
from ssv_tf.training import run_folder, student_run


def define_flags() -> None:
    """Registers this command's flags."""
    default = student_run.Settings()
    flags.DEFINE_string("run", "", "Folder of a trained run.")
    flags.DEFINE_string("preset", "", "Name of a run that came with the package.")
    flags.DEFINE_string("out", "", "Run folder of the student.")
    flags.DEFINE_string(
        "data_dir", "", "Unlabelled pictures to learn on; empty: what the run was trained on."
    )
    flags.DEFINE_string("where", "", "Pictures of --data_dir to learn on, as in training.")
    flags.DEFINE_integer("limit", 0, "Use at most this many pictures; 0: all.", lower_bound=0)
    flags.DEFINE_enum(
        "resolution",
        str(default.resolution),
        list(map(str, student_run.RESOLUTIONS)),
        "Picture side in pixels.",
    )
    flags.DEFINE_float(
        "width", default.width, "Times MobileNetV3-small's channels.", lower_bound=0.1,
        upper_bound=4.0,
    )  # fmt: skip
    flags.DEFINE_integer(
        "steps", default.steps, "Training steps, above a hundred rounded up to whole hundreds.",
        lower_bound=1,
    )  # fmt: skip
    flags.DEFINE_integer("batch_size", default.batch_size, "Real pictures a step.", lower_bound=2)
    flags.DEFINE_float(
        "drawn_share", default.drawn_share, "Pictures S draws, as a share of the real ones.",
        lower_bound=0.0, upper_bound=4.0,
    )  # fmt: skip
    flags.DEFINE_integer("seed", default.seed, "Seed of everything random.", lower_bound=0)
    flags.DEFINE_bool("overwrite", False, "Remove what --out holds and start anew.")
    flags.DEFINE_bool("quiet", False, "No progress bar.")


def main(argv: Sequence[str]) -> None:
    """Distils and says how near the student came."""
    values = flags.FLAGS
    if len(argv) > 1:
        raise FlagError(f"distill takes flags only, got {' '.join(argv[1:])}")
    if not values.out:
        raise FlagError("--out=FOLDER is missing")
    if values.where and not values.data_dir:
        raise FlagError("--where needs --data_dir")
    model = ViewpointModel(run_folder.load(values.run or None, values.preset or None))
    source = student_run.Source(values.data_dir, values.where, values.limit)
    names = [field.name for field in dataclasses.fields(student_run.Settings)]
    asked: dict[str, Any] = {name: values[name].value for name in names if name in values}
    asked["resolution"] = int(values.resolution)
    out = Path(values.out)
    model.distill(source, out, overwrite=values.overwrite, quiet=values.quiet, **asked)
    print(table(student_run.read_record(out)))
    print(f"run folder: {out}")


def table(record: dict) -> str:
    """The student beside its teacher, as aligned text."""
    apart = record["teacher_distance"]
    lines = [
        f"student of {record['teacher']}: {record['resolution']} px, "
        f"{record['parameters']:,} parameters, taught on {record['pictures']:,} pictures",
        f"distance from the teacher, degrees, {apart['pictures']} other pictures",
        f"{'':<12}{'median':>8}{'95 %':>8}",
    ]
    lines += [
        f"{name:<12}{apart[name]['median_deg']:>8.2f}{apart[name]['p95_deg']:>8.2f}"
        for name in viewpoint.ANGLES
    ]
    return "\n".join(lines)


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
