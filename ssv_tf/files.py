"""Writing files so that a reader never sees half of one."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

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
    with atomic_stream(path) as stream:
        stream.write(data.encode() if isinstance(data, str) else data)
    return Path(path)


@contextlib.contextmanager
def atomic_stream(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A stream to a temporary name beside `path`, renamed at the end of the block.

    Raises:
      UserError: the folder cannot be made or written.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as stream:
            yield stream
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
