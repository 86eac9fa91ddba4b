"""Measures one TFLite file in a process of its own, for `ssv_tf.export.benchmark`.

  python -m ssv_tf.export.benchmark_worker FILE THREADS CALLS

Answers a line of JSON: the figures, or {"error": "..."}. TensorFlow is not loaded, so memory and
load time are those of LiteRT.
"""

import json
import re
import sys
import time

import numpy as np

from ssv_tf.base.errors import UserError
from ssv_tf.export import litert
from ssv_tf.export.names import INPUT

_WARM_UP = 5


def measure(path: str, threads: int, calls: int) -> dict:
    """Loads the file and asks it for one picture at a time.

    Returns:
      load_ms (until the first question can be asked), first_ms (its answer), call_ms (a list of
      the later ones), memory_mib (by how much the process grew at its peak; None where the
      system does not tell), resolution.

    Raises:
      UserError: the file is no viewpoint model or cannot be run.
    """
    before_mib = _memory_mib("VmRSS")
    _forget_peak()
    began = time.perf_counter()
    predictor = litert.Predictor(path, threads)
    load_ms = _ms_since(began)
    shape = predictor.runner.get_input_details()[INPUT]["shape"]
    dtype = predictor.runner.get_input_details()[INPUT]["dtype"]
    pictures = np.random.default_rng(0).integers(0, 256, (8, *shape)).astype(dtype)
    times = []
    for i in range(1 + _WARM_UP + calls):
        began = time.perf_counter()
        predictor.runner(**{INPUT: pictures[i % len(pictures)]})
        times.append(_ms_since(began))
    peak_mib = _memory_mib("VmHWM")
    grown = None if before_mib is None or peak_mib is None else max(0.0, peak_mib - before_mib)
    return {
        "resolution": predictor.resolution,
        "load_ms": load_ms,
        "first_ms": times[0],
        "call_ms": times[1 + _WARM_UP :],
        "memory_mib": grown,
    }


def _ms_since(began: float) -> float:
    return (time.perf_counter() - began) * 1e3


def _memory_mib(field: str) -> float | None:
    """VmRSS (resident now) or VmHWM (at its peak) of this process; Linux only."""
    try:
        with open("/proc/self/status") as stream:
            match = re.search(rf"^{field}:\s+(\d+) kB$", stream.read(), re.MULTILINE)
    except OSError:
        return None
    return int(match.group(1)) / 1024 if match else None


def _forget_peak() -> None:
    """Starts VmHWM anew, or the imports' own peak would hide a small model."""
    try:
        with open("/proc/self/clear_refs", "w") as stream:
            stream.write("5")
    except OSError:
        pass


def main(path: str, threads: str, calls: str) -> int:
    """Prints the line; exit code 1 after an error."""
    try:
        print(json.dumps(measure(path, int(threads), int(calls))))
    except UserError as error:
        print(json.dumps({"error": " ".join(str(error).split())}))
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
