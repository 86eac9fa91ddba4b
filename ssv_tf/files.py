"""Writing files so that a reader never sees half of one."""

import os
import tempfile
from pathlib import Path

from ssv_tf.errors import FlagError, UserError


def refuse_existing(path: str | os.PathLike, overwrite: bool) -> Path:
    """Returns `path`, or raises FlagError where it exists and `--overwrite` was not given."""
    path = Path(path)
    if path.exists() and not overwrite:
        raise FlagError(f"{path} exists; give --overwrite to replace it, or another name")
    return path


def write_atomically(path: str | os.PathLike, data: bytes | str) -> Path:
    """Writes `data` to a temporary name beside `path`, then renames it.

    Raises:
      UserError: the folder cannot be made or written.
    """
    path = Path(path)
    raw = data.encode() if isinstance(data, str) else data
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as stream:
            stream.write(raw)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    return path
