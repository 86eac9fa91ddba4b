"""Trains V and S on unlabelled pictures.

python -m ssv_tf.train --flagfile=configs/cars.flags
"""

import sys
from collections.abc import Sequence

from absl import flags

from ssv_tf import config
from ssv_tf.base import cli
from ssv_tf.base.errors import FlagError


def define_flags() -> None:
    """Registers the settings of a run and what only this command knows."""
    config.define_flags()
    flags.DEFINE_bool("overwrite", False, "Remove what --run_dir holds and start anew.")
    flags.DEFINE_bool("quiet", False, "No progress bar.")


def main(argv: Sequence[str]) -> None:
    """Parses the flags and trains; the exit code is 0, or 128 + a signal's number."""
    if len(argv) > 1:
        raise FlagError(f"train takes flags only, got {' '.join(argv[1:])}")
    options = config.from_flags()
    from ssv_tf.training import loop

    code = loop.train(options, flags.FLAGS.overwrite, flags.FLAGS.quiet)
    print(f"run folder: {options.run.run_dir}")
    sys.exit(code)


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
