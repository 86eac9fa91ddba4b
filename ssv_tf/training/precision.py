"""In which type a training computes where none was asked for (`--precision=auto`)."""

import functools
from pathlib import Path

import keras

from ssv_tf import config
from ssv_tf.training import cluster

AUTO, FLOAT32, BFLOAT16 = config.PRECISIONS
_CPU_INFO = Path("/proc/cpuinfo")
_INSTRUCTIONS = {"amx_bf16", "avx512_bf16"}


def settle(options: config.Options, begun: config.Options | None = None) -> config.Options:
    """The options with a type in place of `auto`.

    A run that was begun goes on in its own type, on whatever machine, so that it stays one run.

    Args:
      options: config.Options.
      begun: those of the run that the training goes on with, if it does.
    """
    if options.run.precision != AUTO:
        return options
    chosen = begun.run.precision if begun else AUTO
    return options.replace(precision=best_here() if chosen == AUTO else chosen)


def best_here() -> str:
    """mixed_bfloat16 where TensorFlow trains on a CPU that multiplies bfloat16, else float32.

    On such a CPU convolutions take half the time or less, and networks come out as good; on
    others bfloat16 is emulated and slow. Machines of a cluster may differ: they take float32.
    """
    if keras.backend.backend() != "tensorflow" or cluster.current_role().count > 1:
        return FLOAT32
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return FLOAT32
    return BFLOAT16 if multiplies_bfloat16() else FLOAT32


@functools.cache
def multiplies_bfloat16() -> bool:
    """Whether this machine's CPU has instructions for products of bfloat16, as Linux tells."""
    try:
        text = _CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return not _INSTRUCTIONS.isdisjoint(flags.split())
