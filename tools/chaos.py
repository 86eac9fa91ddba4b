"""Kills training again and again, resumes it, and compares its end with an unbroken run's.

python -m tools.chaos --flagfile=configs/chaos.flags --kills=100 --run_dir=runs/chaos

Every life is a real training process that gets SIGKILL at a random moment: while it starts, some
time after a checkpoint, or while it writes one. The lives are forked from this process, which
has imported everything and computed nothing, so that none pays for the imports. Give --run_dir a
place on the storage that is to be trusted.
"""

import contextlib
import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from absl import flags

from ssv_tf import config
from ssv_tf.base import cli, files
from ssv_tf.base.errors import FlagError, UserError
from ssv_tf.training import checkpoints

_WATCH_S = 0.003
_MOMENTS = {"starting": 0.4, "after a checkpoint": 0.35, "writing a checkpoint": 0.25}


@dataclasses.dataclass
class Life:
    """What one training process got to.

    Attributes:
      moment: when it was to be killed; "" for one that was left alone.
      code: its exit code, -9 where it was killed.
      step: of the newest checkpoint at its end.
      half_written: temporary files it left behind.
      first_save_s: seconds to its first checkpoint, None where there was none.
    """

    moment: str
    code: int
    step: int
    half_written: int
    first_save_s: float | None


def define_flags() -> None:
    """Registers the settings of a run and what only this command knows."""
    config.define_flags()
    flags.DEFINE_integer("kills", 25, "Processes to kill.", lower_bound=1)
    flags.DEFINE_integer("kill_seed", 0, "Seed of the moments at which they are killed.")
    flags.DEFINE_bool(
        "eager",
        False,
        "Do not compile the step (TensorFlow): a life starts in a fifth of the time.",
    )


def main(argv: Sequence[str]) -> None:
    """Parses the flags, kills, compares; exit code 1 where anything was lost."""
    if len(argv) > 1:
        raise FlagError(f"chaos takes flags only, got {' '.join(argv[1:])}")
    given = flags.FLAGS
    options = config.from_flags().replace(deterministic=True)
    folder = Path(options.run.run_dir)
    if folder.exists():
        raise FlagError(f"{folder} exists; give another --run_dir")
    if given.eager:
        _run_eagerly()
    result = chaos(options, given.kills, given.kill_seed, say=print)
    print(files.write_atomically(folder / "chaos.json", json.dumps(result, indent=1) + "\n"))
    print(
        f"{result['kills']} kills ({', '.join(f'{n} {k}' for k, n in result['moments'].items())}), "
        f"{result['half_written']} half-written files, {result['steps_died_at']} different steps: "
        f"all {result['arrays']} arrays equal the unbroken run's bit for bit"
    )


def chaos(
    options: config.Options, kills: int, seed: int, say: Callable[[str], object] = lambda line: None
) -> dict:
    """Trains `run_dir`/whole unbroken and /broken with `kills` kills, and compares them.

    Args:
      options: settings; `steps` is raised where so many kills need more.
      kills: processes that get SIGKILL.
      seed: of the moments.
      say: takes a line of progress.

    Returns:
      counts: kills, kills by moment, half-written files, steps died at, arrays compared, seconds.

    Raises:
      UserError: a run failed, or its end differs from the unbroken one's.
    """
    began = time.monotonic()
    whole, broken = (
        options.replace(run_dir=os.path.join(options.run.run_dir, name))
        for name in ("whole", "broken")
    )
    life = _live(whole, "", 0.0, say)
    _check_end(life, whole)
    rng, start_s = np.random.default_rng(seed), life.first_save_s or 1.0
    lives: list[Life] = []
    while sum(life.code == -signal.SIGKILL for life in lives) < kills:
        moment = str(rng.choice(list(_MOMENTS), p=list(_MOMENTS.values())))
        if lives and lives[-1].step >= options.run.steps:
            moment = "starting"
        lives.append(_live(broken, moment, float(rng.uniform(0, 1)) * start_s, say))
        if lives[-1].code not in (-signal.SIGKILL, 0):
            raise UserError(
                f"life {len(lives)} of {broken.run.run_dir} ended with {lives[-1].code}"
            )
        if lives[-1].first_save_s:
            start_s = lives[-1].first_save_s
    _check_end(_live(broken, "", 0.0, say), broken)
    killed = [life for life in lives if life.code == -signal.SIGKILL]
    return {
        "kills": len(killed),
        "moments": {name: sum(x.moment == name for x in killed) for name in _MOMENTS},
        "half_written": sum(life.half_written for life in lives),
        "steps_died_at": len({life.step for life in killed}),
        "arrays": compare(whole.run.run_dir, broken.run.run_dir),
        "seconds": round(time.monotonic() - began, 1),
    }


def compare(whole: str | os.PathLike, broken: str | os.PathLike) -> int:
    """Compares all that trains, the saved models and the steps of the log; returns how many arrays.

    Raises:
      UserError: something differs; names it.
    """
    ends = [_arrays(folder) for folder in (whole, broken)]
    if set(ends[0]) != set(ends[1]):
        raise UserError(f"{whole} and {broken} keep other arrays")
    for name, array in ends[0].items():
        if array.dtype != ends[1][name].dtype or array.tobytes() != ends[1][name].tobytes():
            raise UserError(f"{name} of {broken} differs from {whole}")
    steps = [_logged(folder) for folder in (whole, broken)]
    if steps[0] != steps[1]:
        raise UserError(f"metrics.jsonl of {broken} has other steps than that of {whole}")
    return len(ends[0])


def _arrays(folder: str | os.PathLike) -> dict[str, np.ndarray]:
    from ssv_tf.training import run_folder

    newest = checkpoints.checkpoint_paths(Path(folder) / "checkpoints")[-1]
    with np.load(newest, allow_pickle=False) as archive:
        arrays = {f"{newest.name}/{name}": archive[name] for name in archive.files}
    run = run_folder.load(folder)
    for model in (run.analysis(), run.synthesis()) if not run.options.pictures.supervised else ():
        for weight in model.weights:
            arrays[f"models/{weight.path}"] = np.asarray(weight.value)
    return arrays


def _logged(folder: str | os.PathLike) -> list[tuple[str, int]]:
    lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    return [(line["kind"], line["step"]) for line in map(json.loads, lines)]


def _check_end(life, options):
    if life.code != 0 or life.step != options.run.steps:
        raise UserError(
            f"{options.run.run_dir} ended at step {life.step} with exit code {life.code}; its "
            f"output is in {options.run.run_dir}.log"
        )


def _live(
    options: config.Options, moment: str, delay_s: float, say: Callable[[str], object]
) -> Life:
    """Forks a process that trains, and kills it at its moment."""
    folder, began = Path(options.run.run_dir) / "checkpoints", time.monotonic()
    first, left_before = _newest(folder), _temporary(folder)
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        _train(options)
    first_save_s, code = None, None
    kill_at = began + delay_s if moment == "starting" else None
    while code is None:
        time.sleep(_WATCH_S)
        code, now = _ended(process), time.monotonic()
        if first_save_s is None and _newest(folder) > first:
            first_save_s = now - began
            if moment == "after a checkpoint":  # the next is not much further away than this
                kill_at = now + delay_s / 3
        if moment == "writing a checkpoint" and now > began + delay_s:
            kill_at = now if _temporary(folder) - left_before else None
        if kill_at is not None and now >= kill_at and code is None:
            os.kill(process, signal.SIGKILL)
            kill_at = None
    life = Life(moment, code, _newest(folder), len(_temporary(folder) - left_before), first_save_s)
    say(
        f"{moment or 'left alone'}: exit code {code} at step {life.step} after "
        f"{time.monotonic() - began:.1f} s"
    )
    return life


def _ended(process: int) -> int | None:
    done, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def _newest(folder: Path) -> int:
    saved = checkpoints.checkpoint_paths(folder)
    return checkpoints.step_of(saved[-1]) if saved else 0


def _temporary(folder: Path) -> set[str]:
    return {path.name for path in folder.glob(".step-*")}


def _train(options):
    """The life of a forked process, which never returns."""
    code = 1
    try:
        os.makedirs(os.path.dirname(options.run.run_dir), exist_ok=True)
        log = os.open(f"{options.run.run_dir}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        from ssv_tf.training import loop

        with contextlib.suppress(KeyboardInterrupt):
            code = loop.train(options, quiet=True)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run_eagerly():
    import keras

    if keras.backend.backend() != "tensorflow":
        raise FlagError("--eager is for TensorFlow; JAX has JAX_COMPILATION_CACHE_DIR")
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
