"""Trains one run with one thing changed at a time, scores each, writes one table.

  python -m tools.ablate --configs=configs/ablations --out=runs/ablations --seeds=0,1

Every flag file in --configs is a row, compared with base.flags there; all are trained on the
embedded cars. The same command goes on where it was stopped. A run that fails is written down and
the others go on.

OUT/
  NAME/seed_0/          a run folder, as `ssv_tf.train` leaves it
  results/NAME_0.json   its score, or why there is none
  logs/NAME_0.log       what training printed
  table.md table.json   all of them, written anew after every run
"""

import dataclasses
import json
import signal
import subprocess
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from ssv_tf import config
from ssv_tf.base import cli, files
from ssv_tf.base.errors import FlagError, UserError
from ssv_tf.training import run_folder
from tools import ablation_table

BASE = "base"
_EMBEDDED = "turntable_cars"


@dataclasses.dataclass(frozen=True)
class Trial:
    """One flag file with one seed.

    Attributes:
      name: of the row.
      flag_file: what is trained.
      options: what that means, with the seed and the run folder.
      out: the folder of all trials.
    """

    name: str
    flag_file: Path
    options: config.Options
    out: Path

    @property
    def key(self) -> str:
        """Names its files."""
        return f"{self.name}_{self.options.run.seed}"

    @property
    def result_path(self) -> Path:
        """Where its result lies once it has one."""
        return self.out / "results" / f"{self.key}.json"

    @property
    def log_path(self) -> Path:
        """Where the output of its training lies."""
        return self.out / "logs" / f"{self.key}.log"

    def result(self) -> dict[str, Any] | None:
        """What `run_trial` wrote, or None."""
        try:
            saved = json.loads(self.result_path.read_text())
        except (OSError, ValueError):
            return None
        return saved if isinstance(saved, dict) else None

    def finished(self) -> bool:
        """Whether it has a score, with these very settings."""
        try:
            trained = run_folder.load(self.options.run.run_dir).options
        except UserError:
            return False
        moved = trained.replace(run_dir=self.options.run.run_dir)
        return moved == self.options and (self.result() or {}).get("status") == "done"


def define_flags() -> None:
    """Registers this command's flags."""
    flags.DEFINE_string("configs", "configs/ablations", "Folder of flag files, one a row.")
    flags.DEFINE_string("out", "runs/ablations", "Folder of the runs, results and the table.")
    flags.DEFINE_list("seeds", ["0"], "Seeds to train each row with.")
    flags.DEFINE_list("only", [], "Rows to train, by the names of their files; empty: all.")
    flags.DEFINE_string("table", "", "Markdown file of the table, JSON beside it; empty: in --out.")


def main(argv: Sequence[str]) -> None:
    """Runs what is not finished yet; UserError at the end if a run failed."""
    values = flags.FLAGS
    if len(argv) > 1:
        raise FlagError(f"ablate takes flags only, got {' '.join(argv[1:])}")
    rows = read_rows(Path(values.configs))
    out, chosen, seeds = Path(values.out), _chosen(values.only, rows), _seeds(values.seeds)
    path = _table_path(values.table, out)
    trials = {
        (name, seed): _trial(name, seed, rows[name], Path(values.configs), out)
        for seed in seeds
        for name in rows
    }
    asked = [trial for trial in trials.values() if trial.name in chosen]
    for trial in asked:
        if trial.finished():
            print(f"{trial.key}: finished before", flush=True)
            continue
        print(f"{trial.key}: training", flush=True)
        print(f"{trial.key}: {_summary(run_trial(trial))}", flush=True)
        write_table(path, rows, trials, seeds)
    print(f"{write_table(path, rows, trials, seeds)}\n{path}")
    failed = [trial.key for trial in asked if not trial.finished()]
    if failed:
        raise UserError(f"{len(failed)} of {len(asked)} failed: {', '.join(failed)}; see {path}")


def read_rows(folder: Path) -> dict[str, config.Options]:
    """The settings of each flag file in a folder by its name, base first.

    Raises:
      FlagError: no base, a file with a wrong flag, or pictures that bring no test split.
    """
    paths = {path.stem: path for path in sorted(folder.glob("*.flags"))}
    if BASE not in paths:
        raise FlagError(f"--configs={folder} has no {BASE}.flags")
    names = [BASE, *(name for name in paths if name != BASE)]
    rows = {name: config.from_flag_file(paths[name]) for name in names}
    for name, options in rows.items():
        if options.pictures.data != _EMBEDDED:
            raise FlagError(f"{paths[name]}: --data={options.pictures.data}, rows need {_EMBEDDED}")
    return rows


def run_trial(trial: Trial) -> dict[str, Any]:
    """Trains (or goes on training), scores, writes the result and returns it.

    Raises:
      SystemExit: a signal came; training has saved and nothing is written.
    """
    words = [
        "ssv_tf.train", f"--flagfile={trial.flag_file}", f"--seed={trial.options.run.seed}",
        f"--run_dir={trial.options.run.run_dir}", "--quiet",
    ]  # fmt: skip
    code = call(words, trial.log_path)
    if code:
        result = {"status": "failed", "exit_code": code, "last_line": last_line(trial.log_path)}
    else:
        result = _scored(trial)
    files.write_atomically(trial.result_path, json.dumps(result, indent=1) + "\n")
    return result


def call(words: Sequence[str], log: Path) -> int:
    """The exit code of `python -m WORDS`, its output appended to `log`.

    Raises:
      SystemExit: after SIGINT or SIGTERM, which the command gets as SIGTERM and is waited for.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
        )  # fmt: skip
    noted: list[int] = []

    def pass_on(number, _frame):
        noted.append(number)
        process.terminate()

    before = {n: signal.signal(n, pass_on) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if noted:
        print("stopped; the same command goes on", flush=True)
        raise SystemExit(128 + noted[0])
    return code


def last_line(log: Path) -> str:
    """The last line with anything in it."""
    lines = log.read_text(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")


def _scored(trial: Trial) -> dict[str, Any]:
    try:
        score = score_run(Path(trial.options.run.run_dir))
    except Exception as error:  # whatever it is, the other rows go on
        line = " ".join(f"{type(error).__name__}: {error}".split())
        return {"status": "failed", "exit_code": 0, "last_line": line}
    numbers = ablation_table.numbers_of(score, Path(trial.options.run.run_dir))
    return {"status": "done", "numbers": numbers, "score": score}


def score_run(run_dir: Path) -> dict[str, Any]:
    """A run's score on the embedded cars' test split, calibrated on 100 of another split."""
    from ssv_tf.evaluation import calibration, labelled, scoring

    run = run_folder.load(run_dir)
    asked = types.SimpleNamespace(calibrate_on=ablation_table.CALIBRATE_ON, data_dir="", seed=0)
    outcome = scoring.evaluate(
        labelled.predictor(run.analysis()),
        labelled.load_split(run.options, asked),
        azimuth=calibration.azimuth_kind(run.options),
    )
    return {"training": run.options.training} | outcome.result


def write_table(
    path: Path,
    rows: Mapping[str, config.Options],
    trials: Mapping[tuple[str, int], Trial],
    seeds: Sequence[int],
) -> str:
    """Writes the table as Markdown to `path` and as JSON beside it; returns the Markdown.

    Args:
      path: of the Markdown.
      rows: settings by name; a row without any result is left out.
      trials: by name and seed.
      seeds: in the order of the numbers in a cell.
    """
    table_rows = []
    for name, options in rows.items():
        results = {seed: trials[name, seed].result() for seed in seeds}
        if any(results.values()):
            changed = ablation_table.changes(options, rows[BASE])
            table_rows.append({"name": name, "changed": changed, "seeds": results})
    text = ablation_table.to_markdown(table_rows, seeds)
    files.write_atomically(path, text)
    together = {"base": rows[BASE].flat(), "rows": table_rows}
    files.write_atomically(path.with_suffix(".json"), json.dumps(together, indent=1) + "\n")
    return text


def _summary(result: Mapping[str, Any]) -> str:
    if result["status"] == "failed":
        return f"failed: {result['last_line']}"
    numbers = result["numbers"]
    return (
        f"azimuth {numbers['azimuth_median_deg']:.1f} deg, "
        f"{numbers['azimuth_within_30']:.2f} within 30, {numbers['minutes']:.1f} minutes"
    )


def _trial(name: str, seed: int, options: config.Options, configs: Path, out: Path) -> Trial:
    trial_options = options.replace(seed=seed, run_dir=str(out / name / f"seed_{seed}"))
    return Trial(name, configs / f"{name}.flags", trial_options, out)


def _chosen(only: Sequence[str], rows: Mapping[str, Any]) -> list[str]:
    unknown = [name for name in only if name not in rows]
    if unknown:
        raise FlagError(
            f"--only={','.join(only)}: no {', '.join(unknown)}; rows: {', '.join(rows)}"
        )
    return list(only or rows)


def _seeds(words: Sequence[str]) -> list[int]:
    if not words or not all(word.strip().isdecimal() for word in words):
        raise FlagError(f"--seeds={','.join(words)} must be whole numbers, such as 0,1")
    return list(dict.fromkeys(int(word) for word in words))


def _table_path(asked: str, out: Path) -> Path:
    """Where the table goes; a file of that name must be an earlier table."""
    path = Path(asked) if asked else out / "table.md"
    if path.suffix != ".md":
        raise FlagError(f"--table={asked} must end in .md")
    if path.exists() and not path.read_text(errors="replace").startswith(ablation_table.HEADING):
        raise FlagError(f"{path} exists and is no table of ablations; give another --table")
    return path


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
