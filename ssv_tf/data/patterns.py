"""Globs that end: `glob.glob` follows a link to a parent folder again and again."""

import fnmatch
import functools
import glob
import os
from collections.abc import Sequence
from pathlib import Path

from ssv_tf.data import folder

_ANY_FOLDERS = "**"


def find_matches(pattern: str) -> list[Path]:
    """Files that a glob names, sorted; ** stands for any folders, each entered once.

    No wildcard stands for a name that begins with a dot, nor does ** lead to one.
    """
    if "\0" in pattern:
        return []
    parts = Path(pattern).parts
    if _ANY_FOLDERS not in parts:
        matches = (Path(match) for match in sorted(glob.glob(pattern)))
        return [match for match in matches if not os.path.isdir(match)]
    start = parts.index(_ANY_FOLDERS)
    roots = map(Path, glob.glob(str(Path(*parts[:start]))))
    return sorted(
        path
        for root in roots
        if os.path.isdir(root)
        for path in folder.walk(root)
        if _fits(path.relative_to(root).parts, parts[start:])
    )


def _fits(names: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path fits a glob, both in parts."""

    @functools.cache
    def fits(name: int, want: int) -> bool:
        if want == len(pattern):
            return name == len(names)
        if pattern[want] == _ANY_FOLDERS:
            return fits(name, want + 1) or (name < len(names) and fits(name + 1, want))
        return (
            name < len(names)
            and fnmatch.fnmatchcase(names[name], pattern[want])
            and fits(name + 1, want + 1)
        )

    return fits(0, 0)
