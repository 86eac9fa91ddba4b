"""The main job end to end on the embedded cars: train, distill, calibrate, score, export, predict.

  python -m ssv_tf.demo --out=runs/demo

Each stage is the command a user would give; the lines are printed, so that they can be copied.

OUT/               V and S
  student/         what learnt from V and settled front and rear: calibrated, scored, exported
  report.html, score.json, export/, predictions.csv, drawn/
"""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from ssv_tf.base import cli
from ssv_tf.base.errors import FlagError, UserError

_STUDENT, _STUDENT_STEPS, _STUDENT_PICTURES = "student", 500, 4000


def define_flags() -> None:
    """Registers this command's flags."""
    flags.DEFINE_string("out", "runs/demo", "Folder of the run.")
    flags.DEFINE_string("recipe", "configs/demo.flags", "Flag file of the training.")
    flags.DEFINE_bool("overwrite", False, "Remove what --out holds and start anew.")


def main(argv: Sequence[str]) -> None:
    """Runs every stage and prints the final table; stops at the first that fails."""
    if len(argv) > 1:
        raise FlagError(f"demo takes flags only, got {' '.join(argv[1:])}")
    values, began = flags.FLAGS, time.monotonic()
    out = Path(values.out)
    pictures = out / "sample_pictures"
    for words in stages(out, pictures, values.recipe, values.overwrite):
        _run(words)
        if words[0] == "distill":
            _write_sample_pictures(pictures, out / _STUDENT)
    print(final_table(out, (time.monotonic() - began) / 60))


def stages(out: Path, pictures: Path, recipe: str, overwrite: bool) -> list[list[str]]:
    """The commands of the main job, each as words after `python -m ssv_tf.`."""
    student = out / _STUDENT
    run, again = f"--run={student}", "--overwrite"
    fresh = [again] if overwrite else []
    return [
        ["train", f"--flagfile={recipe}", f"--run_dir={out}", *fresh],
        ["distill", f"--run={out}", f"--out={student}", "--backbone=efficientnet_lite0",
         f"--steps={_STUDENT_STEPS}", f"--limit={_STUDENT_PICTURES}", again],
        ["calibrate", run, again],
        ["evaluate", run, "--calibrate_on=0", f"--json={out / 'score.json'}",
         f"--report={out / 'report.html'}", again],
        ["synthesize", f"--run={out}", again],
        ["export", run, f"--out={out / 'export'}", "--formats=int8,saved_model", again],
        ["predict", run, f"--out={out / 'predictions.csv'}", f"--draw_dir={out / 'drawn'}",
         again, str(pictures)],
    ]  # fmt: skip


def final_table(out: Path, minutes: float) -> str:
    """Scores beside the best constant's, and where everything lies."""
    try:
        score = json.loads((out / "score.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{out / 'score.json'} cannot be read: {error}") from error
    rows = [("", "this run", "best constant")]
    for label, angle, key in (
        ("azimuth, median error", "azimuth", "median_error_deg"),
        ("azimuth, within 30 degrees", "azimuth", "within_30"),
        ("elevation, mean error", "elevation", "mean_error_deg"),
        ("tilt, mean error", "tilt", "mean_error_deg"),
    ):
        if key not in score[angle]:
            continue
        mine, constant = score[angle][key], score[angle]["baseline"][key]
        cells = [f"{v:.2f}" if key == "within_30" else f"{v:.1f} deg" for v in (mine, constant)]
        rows.append((label, cells[0], cells[1]))
    lines = [f"{a:<28}{b:>12}{c:>16}" for a, b, c in rows]
    paths = [
        ("report", out / "report.html"),
        ("turntable", out / "pictures" / "turntable.gif"),
        ("TFLite", out / "export" / "model_int8.tflite"),
        ("predictions", out / "predictions.csv"),
    ]
    lines += [""] + [f"{name:<12}{path}" for name, path in paths]
    return "\n".join(["", *lines, "", f"{minutes:.1f} minutes"])


def _run(words: list[str]) -> None:
    command = [sys.executable, "-m", f"ssv_tf.{words[0]}", *words[1:]]
    print(f"\n$ python -m ssv_tf.{shlex.join(words)}", flush=True)
    code = subprocess.run(command, check=False).returncode
    if code:
        raise UserError(f"{words[0]} ended with exit code {code}")


def _write_sample_pictures(folder: Path, run: Path) -> None:
    from PIL import Image

    import ssv_tf
    from ssv_tf.data import sources

    resolution = ssv_tf.load(run).resolution
    test = sources.load_collection(sources.EMBEDDED, resolution=resolution, split="test")
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(8):
        Image.fromarray(test.images[index]).save(folder / f"car_{index}.png")


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
