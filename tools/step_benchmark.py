"""Times a training step: V, S and data apart, pictures/s, FLOPs, share of this machine's peak.

  python -m tools.step_benchmark --flagfile=configs/cars.flags

The peak is the best matrix product measured in the same run, so a share holds on a busy machine.
It is a product of float32, as the backend computes it: JAX takes TF32 for it on GPUs that have it.
"""

import collections
import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from ssv_tf import config
from ssv_tf.base import cli, files, stderr
from ssv_tf.base.errors import FlagError, UserError

if TYPE_CHECKING:
    from ssv_tf.training import engines

_KINDS_SHOWN = 16
_PEAK_SIDES = (1024, 2048, 3072, 8192)
_LONG_ENOUGH = 0.05  # seconds of a matrix product after which a larger one gains nothing


def define_flags() -> None:
    """Registers a run's settings and this command's own flags."""
    define_timing_flags()
    flags.DEFINE_string("profile", "", "Folder for a TensorBoard profile of three steps.")


def define_timing_flags() -> None:
    """Registers a run's settings and the flags of all that times its step."""
    config.define_flags()
    flags.DEFINE_integer("repeats", 8, "Steps timed, after two that warm up.", lower_bound=1)
    flags.DEFINE_string("json", "", "File for the figures as JSON.")
    flags.DEFINE_bool("overwrite", False, "Replace --json if it exists.")


def main(argv: Sequence[str]) -> None:
    """Prints the table, and writes it as JSON where asked."""
    if len(argv) > 1:
        raise FlagError(f"benchmark takes flags only, got {' '.join(argv[1:])}")
    values = flags.FLAGS
    if values.json:
        files.refuse_existing(values.json, values.overwrite)
    figures = measure(config.from_flags(), values.repeats, values.profile)
    print(table(figures))
    if values.json:
        print(files.write_atomically(values.json, json.dumps(figures, indent=1) + "\n"))


def measure(options: config.Options, repeats: int, profile: str = "") -> dict:
    """Times the halves of a training step on random pictures.

    Returns:
      seconds (best of `repeats`), GFLOP, pictures/s, shares of the measured peak, peak memory.
    """
    import keras

    from ssv_tf.models import flops
    from ssv_tf.training import engines, networks, precision

    engine = keras.backend.backend()
    if profile and engine != "tensorflow":
        raise FlagError(f"--profile reads the profile of TensorFlow; KERAS_BACKEND is {engine}")
    trainer = engines.make_trainer(options.replace(supervised=False))
    shape = (options.run.batch_size, *options.framing.shape)
    real = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    halves = trainer.halves(real)
    seconds = {name: _best_seconds(function, repeats) for name, function in halves.items()}
    macs = flops.step_macs(
        trainer.analysis,
        trainer.synthesis,
        batch_size=options.run.batch_size,
        image_consistency=options.losses.image_weight > 0,
        penalty_interval=networks.penalty_interval(options),
        synthesis_symmetry=options.method.synthesis_symmetry_weight > 0,
    )
    memory_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # before the large products
    peaks = {dtype: best_peak_gflops(dtype) for dtype in ("float32", "bfloat16")}
    operations = _profile(trainer, real, profile) if profile else {}
    return {
        "engine": engine,
        "resolution": options.framing.resolution,
        "batch_size": options.run.batch_size,
        "parameters": {
            "analysis": trainer.analysis.count_params(),
            "synthesis": trainer.synthesis.count_params(),
        },
        "gmac_per_picture": {
            "analysis": flops.analysis_macs(trainer.analysis) / 1e9,
            "synthesis": sum(flops.synthesis_macs(trainer.synthesis)) / 1e9,
        },
        "seconds": seconds,
        "step_gflop": {name: 2 * value / 1e9 for name, value in macs.items()},
        "precision": precision.settle(options).run.precision,
        "peak_gflops": peaks["float32"],
        "bfloat16_peak_gflops": peaks["bfloat16"],
        "data_pictures_per_second": data_speed(trainer),
        "operation_seconds": operations,
        "peak_memory_mib": memory_kib / 1024,
    }


def _best_seconds(function, repeats):
    times = []
    for _ in range(repeats + 2):
        began = time.perf_counter()
        for value in function().values():
            np.asarray(value)
        times.append(time.perf_counter() - began)
    return min(times[2:])


def best_peak_gflops(dtype: str) -> float:
    """GFLOP/s of the best matrix product of any side; a fast machine gets larger ones."""
    best = 0.0
    for side in _PEAK_SIDES:
        rate = peak_gflops(side, dtype)
        best = max(best, rate)
        if 2 * side**3 / rate / 1e9 > _LONG_ENOUGH:
            break
    return best


def peak_gflops(side: int, dtype: str = "float32") -> float:
    """GFLOP/s of the best of several matrix products of `side` x `side`."""
    from keras import ops

    numbers = np.random.default_rng(0).normal(size=(2, side, side)).astype(np.float32)
    a, b = (ops.convert_to_tensor(matrix, dtype) for matrix in numbers)
    seconds = []
    for _ in range(8):
        began = time.perf_counter()
        float(ops.sum(ops.matmul(a, b)))
        seconds.append(time.perf_counter() - began)
    return 2 * side**3 / min(seconds) / 1e9


def data_speed(trainer: "engines.Trainer", pictures: int = 2048) -> float:
    """Pictures/s the input pipeline gives from memory."""
    batch_size = trainer.options.run.batch_size
    images = np.zeros((pictures, *trainer.options.framing.shape), np.uint8)
    batches = trainer.batches(images, 0)
    next(batches)
    count = max(8, min(400, 8192 // batch_size))
    began = time.perf_counter()
    for _ in range(count):
        next(batches)
    return count * batch_size / (time.perf_counter() - began)


def table(figures: dict) -> str:
    """The figures as aligned text."""
    seconds, gflop = figures["seconds"], figures["step_gflop"]
    work = {**gflop, "step": sum(gflop.values())}
    lines = [
        f"{figures['engine']}, {figures['precision']}, {figures['resolution']} px, "
        f"batch {figures['batch_size']}; "
        f"peak of a matrix product here {figures['peak_gflops']:.0f} GFLOP/s "
        f"(bfloat16 {figures['bfloat16_peak_gflops']:.0f})",
        f"{'':<18}{'seconds':>9}{'GFLOP':>9}{'GFLOP/s':>9}{'of peak':>9}",
    ]
    for name, label in (
        ("step", "whole step"),
        ("analysis", "V's half"),
        ("synthesis", "S's half"),
    ):
        rate = work[name] / seconds[name]
        share = rate / figures["peak_gflops"]
        lines.append(f"{label:<18}{seconds[name]:>9.3f}{work[name]:>9.1f}{rate:>9.1f}{share:>9.0%}")
    trained = figures["batch_size"] / seconds["step"]
    fed = figures["data_pictures_per_second"]
    lines += [
        f"trained pictures/s {trained:.1f}; the pipeline gives {fed:.0f}, {fed / trained:.0f}-fold",
        *(
            f"{name:<10} {figures['parameters'][name]:>11,} parameters, "
            f"{figures['gmac_per_picture'][name]:.3f} GMAC a picture"
            for name in ("analysis", "synthesis")
        ),
        f"peak memory {figures['peak_memory_mib']:.0f} MiB",
        *(f"{kind:<40}{s:>9.4f} s a step" for kind, s in figures["operation_seconds"].items()),
    ]
    return "\n".join(lines)


def _profile(trainer, real, folder):
    """Traces three steps into `folder`; seconds a step of each kind of operation, largest first.

    Two cores work at once, so the seconds add up to more than a step's.
    """
    import tensorflow as tf

    steps = range(1, 4)
    with stderr.captured():
        tf.profiler.experimental.start(folder)
        for number in steps:
            trainer.step(real, tf.constant(number, tf.int64), False)
        tf.profiler.experimental.stop()
    traces = sorted(Path(folder).glob("plugins/profile/*/*.xplane.pb"))
    if not traces:
        raise UserError(f"the profiler wrote nothing to {folder}")
    return _operation_seconds(traces[-1], len(steps))


def _operation_seconds(trace: Path, steps: int) -> dict[str, float]:
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    space.ParseFromString(trace.read_bytes())
    totals: collections.Counter = collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                kind = plane.event_metadata[event.metadata_id].name
                if ":" in kind:  # "node name:operation"
                    totals[kind.rsplit(":", 1)[1]] += event.duration_ps
    return {kind: value / 1e12 / steps for kind, value in totals.most_common(_KINDS_SHOWN)}


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
