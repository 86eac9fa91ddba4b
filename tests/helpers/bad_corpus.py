"""Over 300 broken and odd picture files, made by code, and what should become of each."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import corpus_broken
import corpus_odd
from corpus_case import EITHER, Case

__all__ = ["EITHER", "Case", "links_between_folders", "pictures", "write"]
_PARTS = (
    corpus_broken.truncated, corpus_broken.wrong_suffix, corpus_broken.damaged_png,
    corpus_broken.damaged_tiff_and_gif,
    corpus_broken.damaged_jpeg, corpus_broken.damaged_bmp, corpus_broken.flipped_bytes,
    corpus_broken.bombs, corpus_broken.not_files, corpus_odd.modes, corpus_odd.odd_bmp,
    corpus_odd.turned, corpus_odd.metadata, corpus_odd.animated, corpus_odd.sizes, corpus_odd.names,
)  # fmt: skip


def pictures() -> Iterator[Case]:
    """Every case; all together take some 30 MB of disk."""
    for part in _PARTS:
        yield from part()


def write(folder: Path, cases: Iterable[Case]) -> list[Case]:
    """Writes the files into `folder`; leaves out those this file system or user cannot have."""
    written = []
    for case in cases:
        path = folder / case.name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if callable(case.content):
                case.content(path)
            else:
                path.write_bytes(case.content)
        except OSError:
            continue
        written.append(case)
    return written


def links_between_folders(folder: Path) -> None:
    """Three links that lead upwards: 3^40 ways through them for whoever does not notice."""
    for number in range(3):
        (folder / "places" / f"up_{number}").symlink_to(folder, target_is_directory=True)
