"""Writing files so that a reader never sees half of one."""

import contextlib
import errno
import fcntl
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
            stream.flush()
            os.fsync(stream.fileno())  # a name must not survive a power cut that its bytes do not
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


def remove_leftovers(folder: str | os.PathLike, *patterns: str) -> None:
    """Removes temporary files that a killed process left in `folder`.

    Args:
      folder: may be absent.
      patterns: of the final names, as `Path.glob` takes them; the temporary names beside
        `atomic_stream`'s start with a dot and end with random characters.
    """
    for pattern in patterns:
        for path in Path(folder).glob(f".{pattern}.*"):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def held(folder: str | os.PathLike) -> Iterator[None]:
    """Makes `folder` and keeps it for this process; the kernel lets go of it however that ends.

    Raises:
      UserError: the folder cannot be made, or another process holds it.
    """
    handle = None
    try:
        os.makedirs(folder, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK:
            os.close(handle)  # type: ignore[arg-type]
            raise UserError(f"another process trains in {folder}; wait for it or stop it") from None
        if handle is None:
            raise UserError(f"cannot make {folder}: {error.strerror}") from error
        # Some network file systems lock no folders: then nobody is kept out.
    try:
        yield
    finally:
        os.close(handle)
