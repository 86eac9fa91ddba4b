"""Keeps what TensorFlow's C++ writes to stderr out of a command's output."""

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def captured() -> Iterator[Callable[[], str]]:
    """Diverts file descriptor 2, Python's warnings and TensorFlow's logger.

    Yields:
      a function that returns what has been written so far, for an error message.
    """
    sys.stderr.flush()
    logger = logging.getLogger("tensorflow")
    level, stderr_copy = logger.level, os.dup(2)
    with tempfile.TemporaryFile() as diverted, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        os.dup2(diverted.fileno(), 2)
        try:
            yield lambda: os.pread(diverted.fileno(), 1 << 20, 0).decode("utf-8", "replace")
        finally:
            sys.stderr.flush()
            os.dup2(stderr_copy, 2)
            os.close(stderr_copy)
            logger.setLevel(level)
