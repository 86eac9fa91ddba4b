"""Renders a share of a collection in a process of its own.

Started by `collection` as `python -m ssv_tf.data.turntable_cars.worker`: a fresh interpreter,
because neither forking a process in which TensorFlow runs threads nor importing TensorFlow again
in every worker would do. A job comes as JSON on stdin, pictures go back raw on stdout.
"""

import json
import signal
import sys
from collections.abc import Callable

import numpy as np

from ssv_tf.data.turntable_cars.render import render_picture


def main() -> None:
    """Renders cars."""
    serve(
        lambda seed_tuple, resolution, rotation: render_picture(seed_tuple, resolution, rotation)[0]
    )


def serve(render: Callable[[tuple, int, np.ndarray], np.ndarray]) -> None:
    """Reads [seed tuples, resolution, rotations]; writes the bytes of each rendered picture."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the parent ends its workers
    seeds, resolution, rotations = json.load(sys.stdin)
    for seed, rotation in zip(seeds, np.asarray(rotations), strict=True):
        sys.stdout.buffer.write(render(tuple(seed), resolution, rotation).tobytes())
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
