"""Which picture of a folder a name in a file of boxes means; nothing outside is ever opened."""

import re
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

_DRIVE = re.compile(r"^[A-Za-z]:")


class PictureNames:
    """Finds pictures by the names that other files give them.

    A name is the path below the folder; or its end, or a longer path that ends in it, so that
    `train/a.jpg` and `/their/disk/train/a.jpg` find `a.jpg` of the folder `train`.

    Args:
      names: paths of the pictures below their folder, with forward slashes.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._files = _Ends(names, lambda path: path)
        self._stems = _Ends(names, lambda path: path.with_suffix(""))

    def find(self, name: object) -> tuple[str, str]:
        """(the picture's name, "") or (the name as it was given, why there is no such picture)."""
        if not isinstance(name, str) or not name.strip("/\\ ") or "\0" in name:
            return name if isinstance(name, str) else "", "no name of a picture"
        return self._files.find(_path(name), name)

    def find_stem(self, name: str) -> tuple[str, str]:
        """As `find`, by a name whose suffix is another's: `labels/a.txt` means `images/a.jpg`."""
        path = _path(name).with_suffix("")
        match = self._stems.find(path, name)
        if match[1] and "labels" in path.parts:
            parts = ["images" if part == "labels" else part for part in path.parts]
            again = self._stems.find(PurePosixPath(*parts), name)
            return again if not again[1] else match
        return match


class _Ends:
    """Names by the ends of their paths."""

    def __init__(self, names: Iterable[str], key: Callable[[PurePosixPath], PurePosixPath]) -> None:
        self._by_last_part: dict[str, list[tuple[PurePosixPath, str]]] = {}
        for name in names:
            path = key(PurePosixPath(name))
            self._by_last_part.setdefault(path.name, []).append((path, name))

    def find(self, path: PurePosixPath, given: str) -> tuple[str, str]:
        if ".." in path.parts:
            return given, "its name leads out of the folder"
        same_end = self._by_last_part.get(path.name, [])
        fitting = [name for there, name in same_end if there == path]
        fitting = fitting or [name for there, name in same_end if _is_end(there, path)]
        if len(fitting) == 1:
            return fitting[0], ""
        return given, f"fits several pictures ({', '.join(fitting[:2])})" if fitting else (
            "no such picture"
        )


def _path(name: str) -> PurePosixPath:
    return PurePosixPath(_DRIVE.sub("", name.strip().replace("\\", "/")).lstrip("/"))


def _is_end(one: PurePosixPath, other: PurePosixPath) -> bool:
    """Whether one of two paths is the end of the other."""
    shorter, longer = sorted((one.parts, other.parts), key=len)
    return longer[-len(shorter) :] == shorter
