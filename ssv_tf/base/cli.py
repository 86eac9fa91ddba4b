"""`command` for those that need Keras: it is loaded first, and one line says why it is not."""

import importlib.util
import sys

from ssv_tf.base.command import run, with_flags
from ssv_tf.base.errors import UserError

try:
    if importlib.util.find_spec("keras"):  # a machine that only writes records has none
        from ssv_tf.base import backend  # noqa: F401  (before anything else loads Keras)
except UserError as error:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    raise SystemExit(error.exit_code) from None

__all__ = ["run", "with_flags"]
