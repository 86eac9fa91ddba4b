"""What a training step costs by resolution and batch, and the input by pictures, with a fitted law.

  python -m tools.cost_curves --flagfile=configs/cars.flags

Each step is timed by `tools.step_benchmark` in a process of its own, one after the other, so that
memory is that step's alone. The law is seconds a step = fixed + work / rate, with the work in
floating-point operations as `models.flops` counts them; its two numbers are those with the least
relative errors. The input is timed with blank pictures in memory.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from ssv_tf import config
from ssv_tf.base import cli, files
from ssv_tf.base.errors import FlagError, UserError
from tools import step_benchmark

RESOLUTIONS = (32, 64, 128)  # pixels, at the batch of the recipe
BATCHES = (8, 32, 64)  # pictures, at the resolution of the recipe
PICTURES = (10**3, 10**4, 10**5, 10**6)


def define_flags() -> None:
    """Registers a run's settings and the flags of all that times its step."""
    step_benchmark.define_timing_flags()


def main(argv: Sequence[str]) -> None:
    """Prints the tables, and writes the figures as JSON where asked."""
    values = flags.FLAGS
    if len(argv) > 1:
        raise FlagError(f"cost_curves takes flags only, got {' '.join(argv[1:])}")
    if values.json:
        files.refuse_existing(values.json, values.overwrite)
    options = config.from_flags()
    steps = []
    for resolution, batch in settings(options):
        asked = options.replace(resolution=resolution, batch_size=batch)
        steps.append(time_step(asked, values.repeats))
        print(f"{resolution} px, batch {batch}: {steps[-1]['seconds']['step']:.3f} s", flush=True)
    fed = feed_speeds(options)
    print(table(steps, fed))
    if values.json:
        figures = {"steps": steps, "fed_pictures_per_second": fed}
        print(files.write_atomically(values.json, json.dumps(figures, indent=1) + "\n"))


def settings(options: config.Options) -> list[tuple[int, int]]:
    """The (resolution, batch) of the steps to time, each once."""
    own = options.framing.resolution, options.run.batch_size
    pairs = [(resolution, own[1]) for resolution in RESOLUTIONS]
    pairs += [(own[0], batch) for batch in BATCHES]
    return list(dict.fromkeys([own, *pairs]))


def time_step(options: config.Options, repeats: int) -> dict:
    """What `tools.step_benchmark` measures, in a process of its own.

    Raises:
      UserError: it failed, with its last line.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        given = [f"--{name}={value}" for name, value in options.flat().items()]
        command = [sys.executable, "-m", "tools.step_benchmark", *given]
        command += [f"--repeats={repeats}", f"--json={path}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip() or "no reason given").splitlines()[-1]
            raise UserError(f"tools.step_benchmark failed: {last}")
        return json.loads(path.read_text())


def feed_speeds(options: config.Options) -> dict[int, float]:
    """Pictures/s of the engine's input, by how many blank pictures are in memory."""
    from ssv_tf.training import engines

    trainer = engines.make_trainer(options.replace(supervised=False))
    return {count: step_benchmark.data_speed(trainer, count) for count in PICTURES}


def fitted_law(gflop: np.ndarray, seconds: np.ndarray) -> tuple[float, float]:
    """(fixed seconds, GFLOP/s) of seconds = fixed + gflop / rate, least squares of relative errors.

    Args:
      gflop: of a step, [n].
      seconds: of a step, [n], above 0.
    """
    columns = np.stack([np.ones_like(gflop), gflop], axis=1) / seconds[:, None]
    fixed, slope = np.linalg.lstsq(columns, np.ones_like(seconds), rcond=None)[0]
    return float(fixed), float(1.0 / slope)


def table(steps: Sequence[dict], fed: dict[int, float]) -> str:
    """The figures as Markdown."""
    gflop = np.array([sum(figures["step_gflop"].values()) for figures in steps])
    seconds = np.array([figures["seconds"]["step"] for figures in steps])
    fixed, rate = fitted_law(gflop, seconds)
    lines = [
        "| resolution | batch | GFLOP a step | s a step | pictures/s | by the law | peak memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for figures, work, taken in zip(steps, gflop, seconds, strict=True):
        batch = figures["batch_size"]
        lines.append(
            f"| {figures['resolution']} | {batch} | {work:.1f} | {taken:.3f} | {batch / taken:.1f} "
            f"| {fixed + work / rate:.3f} s | {figures['peak_memory_mib']:.0f} MiB |"
        )
    peak = max(figures["peak_gflops"] for figures in steps)
    lines += [
        "",
        f"seconds a step = {fixed:.3f} + GFLOP / {rate:.0f}; "
        f"the best float32 matrix product here {peak:.0f} GFLOP/s",
        "",
        "| pictures in memory | pictures/s of the input |",
        "|---|---|",
        *(f"| {count:,} | {speed:,.0f} |" for count, speed in fed.items()),
    ]
    return "\n".join(lines)


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
