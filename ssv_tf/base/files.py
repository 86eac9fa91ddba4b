"""Writing files so that a reader never sees half of one; reading ones that may be anything."""

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ssv_tf.base.errors import SettingError, UserError

_LONGEST_MESSAGE = 2000  # characters; a table's cell may hold far more
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class Unreadable(Exception):
    """A path whose content cannot be had; the message is a short reason, without the name."""


def read_regular(path: str | os.PathLike, most_bytes: int) -> bytes:
    """The content of a regular file; never blocks on a pipe or device, never takes more memory.

    Args:
      path: any path.
      most_bytes: a longer file is refused, unread.

    Raises:
      Unreadable: with a short reason.
    """
    try:
        _check_regular(os.stat(path))
        # The file may have become a pipe since: O_NONBLOCK keeps open() from waiting for a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY), "rb") as stream:
            status = os.fstat(stream.fileno())
            _check_regular(status)
            content = b""
            if status.st_size <= most_bytes:  # room for all that is allowed would cost time
                content = stream.read(status.st_size + 1)
                if len(content) > status.st_size:  # it grows, or tells no size, as in /proc
                    content += stream.read(most_bytes + 1 - len(content))
    except OSError as error:
        raise Unreadable(why_unreadable(error, path)) from None
    except ValueError:  # a NUL in the name
        raise Unreadable("no such file") from None
    if max(status.st_size, len(content)) > most_bytes:
        raise Unreadable(f"file larger than {most_bytes // 1_000_000} MB")
    return content


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for test, name in _KINDS if test(status.st_mode)), "something else")
        raise Unreadable(f"not a regular file but {kind}")


def why_unreadable(error: OSError, path: str | os.PathLike) -> str:
    """A short reason, without the name, why the system does not give a file."""
    if error.errno == errno.ELOOP:
        return "link that leads to itself"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "link to a missing file" if os.path.islink(path) else "no such file"
    return f"cannot be read: {error.strerror}"


def printable(path: str | os.PathLike) -> str:
    """A path as text that any file takes; a byte that is not UTF-8 becomes %E9 and the like."""
    return "".join(
        f"%{ord(letter) - 0xDC00:02X}" if "\udc80" <= letter <= "\udcff" else letter
        for letter in os.fspath(path)
    )


def one_line(text: str) -> str:
    r"""Text for a message: line breaks and what steers a terminal are shown as \n, \x1b, ..."""
    if len(text) > _LONGEST_MESSAGE:
        text = text[:_LONGEST_MESSAGE] + "..."
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def refuse_existing(path: str | os.PathLike, overwrite: bool) -> Path:
    """Returns `path`, or raises SettingError where it exists unless it may be overwritten."""
    path = Path(path)
    if path.exists() and not overwrite:
        raise SettingError(f"{path} exists; give `overwrite` to replace it, or another name")
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
def held(folder: str | os.PathLike, does: str = "trains in") -> Iterator[None]:
    """Makes `folder` and keeps it for this process; the kernel lets go of it however that ends.

    Args:
      folder: may be missing.
      does: what a process that holds it does, for a message.

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
            raise UserError(f"another process {does} {folder}; wait for it or stop it") from None
        if handle is None:
            raise UserError(f"cannot make {folder}: {error.strerror}") from error
        # Some network file systems lock no folders: then nobody is kept out.
    try:
        yield
    finally:
        os.close(handle)
