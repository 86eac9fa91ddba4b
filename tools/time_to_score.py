r"""Trains from several seeds and prints how long each took to a score, beside another checkout.

  python -m tools.time_to_score --recipe=configs/cars.flags --seeds=0,1,2 --out=runs/speed
  python -m tools.time_to_score --recipe=configs/cars.flags --against=../earlier --out=runs/speed
  python -m tools.time_to_score --recipe=configs/demo.flags --train="--steps=1400" \
      --distill="--steps=700" --against=../earlier --against_recipe=configs/cars.flags
  git worktree add ../earlier da2353f    # there, --against_interval=score_interval

Each run is the training command in a process on one core. With `--against`, the same recipe (or
`--against_recipe`) is trained in the other checkout at the same time, so that a busy machine slows
both. The score is the periodic one, azimuth's median error of 300 pictures of the embedded
calibration split. A run stops once it has come to the lowest target. With `--distill`, the runs of
this checkout go on with a student with ImageNet features, made with these flags; its score comes
last, and is that of `evaluate` on 1,000 unseen cars, whose time is not counted. Linux only:
processor time is read from /proc. The same command goes on where it was stopped.

OUT/
  ARM/seed_0/       a run folder, as `ssv_tf.train` leaves it; ARM is `here` or `there`
  ARM/student_0/    the run folder of its student
  ARM_0.json        its scores: steps, seconds and core-seconds
  ARM_0.log         what training printed
"""

import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from ssv_tf.base import cli, files
from ssv_tf.base.errors import FlagError, UserError

_POLL_S = 0.5
_SCORE = "azimuth_median_deg"
_ONE_CORE = {
    name: "1" for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
}


def define_flags() -> None:
    """Registers the command's flags."""
    flags.DEFINE_string("recipe", "configs/cars.flags", "Flag file to train.")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds, one run each.")
    flags.DEFINE_list("targets", ["15", "10", "7"], "Median errors in degrees to time.")
    flags.DEFINE_integer("interval", 200, "Steps between two scores.", lower_bound=1)
    flags.DEFINE_string("against", "", "Root of another checkout to compare with; empty: none.")
    flags.DEFINE_string("against_recipe", "", "Flag file there; empty: the same.")
    flags.DEFINE_string(
        "against_interval", "evaluation_interval", "What the flag of the scores is called there."
    )
    flags.DEFINE_string("train", "", "Flags of ssv_tf.train for the runs here, after the recipe.")
    flags.DEFINE_string(
        "distill", "", "Flags of ssv_tf.distill for a student of every run here; empty: none."
    )
    flags.DEFINE_string("out", "runs/time_to_score", "Folder of runs and results.")


def main(argv: Sequence[str]) -> None:
    """Trains what is not finished yet and prints the table."""
    values = flags.FLAGS
    if len(argv) > 1:
        raise FlagError(f"time_to_score takes flags only, got {' '.join(argv[1:])}")
    try:
        seeds = [int(seed) for seed in values.seeds]
        targets = sorted((float(target) for target in values.targets), reverse=True)
    except ValueError as error:
        raise FlagError(f"--seeds and --targets take numbers: {error}") from error
    out = Path(values.out).absolute()
    changes, student = shlex.split(values.train), shlex.split(values.distill)
    arms = [Arm("here", Path.cwd(), values.recipe, out, changes=changes, student=student)]
    if values.against:
        recipe = values.against_recipe or values.recipe
        flag = values.against_interval
        arms.append(Arm("there", Path(values.against), recipe, out, interval_flag=flag))
    for arm in arms:
        if not (arm.root / arm.recipe).is_file():
            raise FlagError(f"{arm.root / arm.recipe} is no flag file")
    out.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        of_seed = [dataclasses.replace(arm, seed=seed) for arm in arms]
        time_arms(of_seed, min(targets), values.interval)
    results = {arm.name: [read_result(out, arm.name, seed) for seed in seeds] for arm in arms}
    print(table(results, seeds, targets))


@dataclasses.dataclass(frozen=True)
class Arm:
    """One run: a checkout, its recipe, flags after it and a seed, and the flags of a student."""

    name: str
    root: Path
    recipe: str
    out: Path
    seed: int = 0
    changes: Sequence[str] = ()
    student: Sequence[str] = ()
    interval_flag: str = "evaluation_interval"

    @property
    def run_dir(self) -> Path:
        """Its run folder."""
        return self.out / self.name / f"seed_{self.seed}"

    @property
    def student_dir(self) -> Path:
        """The run folder of its student."""
        return self.out / self.name / f"student_{self.seed}"

    @property
    def student_score(self) -> Path:
        """Where `evaluate` leaves the student's score."""
        return self.out / self.name / f"student_{self.seed}.json"

    def commands(self, interval: int) -> list[list[str]]:
        """Training, and if asked for a student and its score: one after the other."""
        train = [
            "ssv_tf.train", f"--flagfile={self.recipe}", *self.changes,
            f"--run_dir={self.run_dir}", f"--seed={self.seed}",
            f"--{self.interval_flag}={interval}", "--overwrite",
        ]  # fmt: skip
        distill = [
            "ssv_tf.distill", f"--run={self.run_dir}", f"--out={self.student_dir}",
            "--backbone=efficientnet_lite0", "--overwrite", *self.student,
        ]  # fmt: skip
        evaluate = [
            "ssv_tf.evaluate", f"--run={self.student_dir}", "--calibrate_on=100",
            f"--json={self.student_score}", "--overwrite",
        ]  # fmt: skip
        asked = [train, distill, evaluate] if self.student else [train]
        return [[sys.executable, "-m", *words] for words in asked]


def time_arms(arms: Sequence[Arm], lowest: float, interval: int) -> None:
    """Trains the arms side by side to `lowest` degrees or their end; writes each one's scores."""
    watched = [
        _Watched(arm, interval)
        for arm in arms
        if not result_path(arm.out, arm.name, arm.seed).is_file()
    ]
    try:
        while any(run.running() for run in watched):
            time.sleep(_POLL_S)
            for run in watched:
                run.look(lowest)
    finally:
        for run in watched:
            run.stop()
    for run in watched:
        run.write()


class _Watched:
    """The processes of an arm, whose scores are noted as they come."""

    def __init__(self, arm: Arm, interval: int) -> None:
        self.arm = arm
        self.scores: list[dict[str, Any]] = []
        (arm.run_dir / "metrics.jsonl").unlink(missing_ok=True)
        self.log = arm.out / f"{arm.name}_{arm.seed}.log"
        self.log.unlink(missing_ok=True)
        self.commands = arm.commands(interval)
        self.began = time.monotonic()
        self.reached = False
        self.spent = {"seconds": 0.0, "core_seconds": 0.0}  # until the last look
        self.before = 0.0  # core-seconds of the processes that ended
        self._start_next()

    def _start_next(self) -> None:
        environment = os.environ | _ONE_CORE | {"PYTHONPATH": str(self.arm.root)}
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.commands.pop(0), cwd=self.arm.root, env=environment, stdout=log, stderr=log
            )

    def running(self) -> bool:
        return self.process.poll() is None

    def look(self, lowest: float) -> None:
        """Notes new scores; ends the run where one is as low as asked for, or goes on."""
        scoring = bool(self.arm.student) and not self.commands
        core_seconds = _core_seconds(self.process.pid)
        if np.isfinite(core_seconds) and not scoring:
            self.spent = {
                "seconds": time.monotonic() - self.began,
                "core_seconds": self.before + core_seconds,
            }
        for score in _scores(self.arm.run_dir / "metrics.jsonl")[len(self.scores) :]:
            self.scores.append(score | self.spent)
            if score[_SCORE] <= lowest and not self.reached:
                self.reached = True
                self.process.send_signal(signal.SIGTERM)
        if self.process.poll() == 0 and self.commands and not self.reached:
            self.before = self.spent["core_seconds"]
            self._start_next()

    def stop(self) -> None:
        """Ends a run that is going on, with all saved."""
        if self.running():
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()

    def write(self) -> None:
        code = self.process.returncode
        if code and not self.reached:
            raise UserError(f"a command ended with exit code {code}; see {self.log}")
        if self.arm.student and not self.reached:
            median = json.loads(self.arm.student_score.read_text())["azimuth"]["median_error_deg"]
            step = self.scores[-1]["step"]
            self.scores.append({"step": step, _SCORE: median, "of": "student"} | self.spent)
        path = result_path(self.arm.out, self.arm.name, self.arm.seed)
        files.write_atomically(path, json.dumps(self.scores, indent=1) + "\n")


def _scores(path: Path) -> list[dict[str, Any]]:
    """Periodic scores of a run so far; half a line that is being written is left for later."""
    scores = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            record = json.loads(line)
        except ValueError:
            break
        if record.get("kind") == "score" and _SCORE in record:
            scores.append({"step": record["step"], _SCORE: record[_SCORE]})
    return scores


def _core_seconds(process: int) -> float:
    """Processor time of a process and of its children that ended; NaN where it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return float("nan")
    ticks = sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
    return ticks / os.sysconf("SC_CLK_TCK")


def result_path(out: Path, arm: str, seed: int) -> Path:
    """Where an arm's scores lie once it has ended."""
    return out / f"{arm}_{seed}.json"


def read_result(out: Path, arm: str, seed: int) -> list[dict[str, Any]]:
    """Scores of an arm in the order of their steps.

    Raises:
      UserError: the file cannot be read.
    """
    path = result_path(out, arm, seed)
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def reached(scores: Sequence[dict[str, Any]], target: float, key: str) -> float:
    """Where the median first falls to the target: `key`'s value there.

    Between two scores of a run it is linear. A student is there when it is made: no part of its
    time is left out.

    Args:
      scores: in the order of their steps.
      target: in degrees.
      key: "step", "seconds" or "core_seconds".

    Returns:
      the value; NaN where the target was not reached.
    """
    before = None
    for score in scores:
        if score[_SCORE] <= target:
            if before is None or score.get("of") == "student":
                return float(score[key])
            fall = before[_SCORE] - score[_SCORE]
            share = (before[_SCORE] - target) / fall if fall > 0 else 1.0
            return float(before[key] + share * (score[key] - before[key]))
        before = score
    return float("nan")


def table(
    results: dict[str, list[list[dict[str, Any]]]], seeds: Sequence[int], targets: Sequence[float]
) -> str:
    """Steps, seconds and core-seconds to each target by seed; ratios where there are two arms."""
    lines = []
    for target in targets:
        lines.append(f"to a median of {target:g} degrees")
        lines.append(f"{'':<10}{'seed':>5}{'steps':>9}{'seconds':>9}{'core-seconds':>14}")
        for name, runs in results.items():
            for seed, scores in zip(seeds, runs, strict=True):
                cells = [
                    reached(scores, target, key) for key in ("step", "seconds", "core_seconds")
                ]
                shown = [f"{cell:.0f}" if np.isfinite(cell) else "-" for cell in cells]
                lines.append(f"{name:<10}{seed:>5}{shown[0]:>9}{shown[1]:>9}{shown[2]:>14}")
        if len(results) == 2:
            lines.append(_ratios(results, target))
    return "\n".join(lines)


def _ratios(results: dict[str, list[list[dict[str, Any]]]], target: float) -> str:
    here, there = (
        np.array([reached(scores, target, "core_seconds") for scores in results[name]])
        for name in ("here", "there")
    )
    both = np.isfinite(here) & np.isfinite(there)
    if not both.any():
        return "here over there: no seed reached it in both"
    ratio = here[both].sum() / there[both].sum()
    return f"here over there, core-seconds of {both.sum()} seeds: {ratio:.2f}"


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
