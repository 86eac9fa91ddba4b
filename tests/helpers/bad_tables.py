"""Broken and odd tables of labels, made by code, and what should become of each."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

HEADER = "filename,azimuth_deg,elevation_deg,tilt_deg"
READS, ROWS, TABLE, ABSENT = "reads", "rows", "table", "absent"
PICTURES = 30


@dataclasses.dataclass(frozen=True)
class Table:
    """A file of the corpus.

    Attributes:
      name: of the file.
      verdict: READS: all rows can be used; ROWS: some rows have mistakes, which --bad_rows=skip
        passes over; TABLE: nothing can be read; ABSENT: some rows have no picture.
      content: bytes, or a function that makes the file.
      reason: words of the message.
      bad: how many rows or pictures are named.
    """

    name: str
    verdict: str
    content: Any
    reason: str = ""
    bad: int = 0


def names() -> list[str]:
    """Of the pictures that the good rows are about."""
    return [f"{number:02d}.png" for number in range(PICTURES)]


def rows() -> list[str]:
    """The good rows."""
    return [f"{name},{12 * number - 180},10,{number % 5}" for number, name in enumerate(names())]


def text(*more: str, header: str = HEADER, end: str = "\n") -> bytes:
    """The good rows and `more`."""
    return end.join([header, *rows(), *more, ""]).encode()


def write(folder: Path) -> list[Table]:
    """Writes every table into `folder`; leaves out those this file system cannot have."""
    written = []
    for table in tables():
        path = folder / table.name
        try:
            if callable(table.content):
                table.content(path)
            else:
                path.write_bytes(table.content)
        except OSError:
            continue
        written.append(table)
    return written


def tables() -> Iterator[Table]:
    """Every table."""
    yield from _odd()
    yield from _bad_rows()
    yield from _unreadable()
    yield from _absent()


def _odd() -> Iterator[Table]:
    plain = text()
    quoted = [f'"{row}"'.replace(",", '","') for row in (HEADER, *rows())]
    found = {
        "plain": plain,
        "byte_order_mark": b"\xef\xbb\xbf" + plain,
        "windows_ends": text(end="\r\n"),
        "old_mac_ends": text(end="\r"),
        "no_last_end": plain.rstrip(),
        "blank_lines": plain.replace(b"\n", b"\n\n"),
        "all_quoted": "\n".join(quoted).encode(),
        "spaces": plain.replace(b",", b" ,  "),
        "dot_slash": plain.replace(b"\n", b"\n./").removesuffix(b"./"),
        "extra_columns": text(header=HEADER + ",note,note"),
        "other_order": b"\n".join(
            b",".join(line.split(b",")[::-1]) for line in plain.splitlines()
        ),
        "exponents": plain.replace(b",10,", b",1.0e1,"),
        "plus_signs": plain.replace(b",10,", b",+10.,"),
        "suspect_rows": text("x.png,east,0,0,1", header=HEADER + ",suspect"),
        "empty_angles": text("x.png,,,", "y.png, ,,", "z.png"),
        "suffix_txt.txt": plain,
    }  # fmt: skip
    for name, content in found.items():
        yield Table(name if "." in name else f"odd_{name}.csv", READS, content)


def _bad_rows() -> Iterator[Table]:
    number = "no finite number"
    found = {
        "nan": ("x.png,nan,0,0", number),
        "infinite": ("x.png,0,inf,0", number),
        "minus_infinite": ("x.png,0,0,-Infinity", number),
        "overflow": ("x.png,0,0,1e999", number),
        "word": ("x.png,east,0,0", number),
        "decimal_comma": ('x.png,"1,5",0,0', number),
        "hexadecimal": ("x.png,0x10,0,0", number),
        "underscore": ("x.png,1_0,0,0", number),
        "other_digits": ("x.png,\u0661\u0662,0,0", number),
        "degree_sign": ("x.png,10\u00b0,0,0", number),
        "formula": ("x.png,=1+1,0,0", number),
        "long_number": ("x.png," + "9" * 5000 + ",0,0", number),
        "azimuth_range": ("x.png,361,0,0", "outside -360 to 360"),
        "elevation_range": ("x.png,0,-90.5,0", "outside -90 to 90"),
        "tilt_range": ("x.png,0,0,1e300", "outside -180 to 180"),
        "no_filename": (",0,0,0", "column filename is empty"),
        "blank_filename": ("   ,0,0,0", "column filename is empty"),
        "surplus_cells": ("x.png,0,0,0,0", "more cells than the 4 columns"),
        "twice": ("00.png,0,0,0", "there twice, see .* line 2"),
        "twice_by_slash": (".\\00.png,0,0,0", "there twice, see .* line 2"),
        "twice_by_dots": (".//00.png,0,0,0", "there twice, see .* line 2"),
        "huge_filename": ("x" * 100_000 + ",east,0,0", number),
    }
    for name, (row, reason) in found.items():
        yield Table(f"row_{name}.csv", ROWS, text(row), f"line {PICTURES + 2}.*{reason}", 1)
    several = text("x.png,nan,0,0", ",1,2,3", "00.png,0,0,0", "y.png,0,91,0")
    yield Table("row_several.csv", ROWS, several, "line 32", 4)
    suspect = text("x.png,0,0,0,maybe", header=HEADER + ",suspect")
    yield Table("row_suspect.csv", ROWS, suspect, "'maybe', not 0 or 1", 1)


def _unreadable() -> Iterator[Table]:
    plain = text()
    noise = bytes(np.random.default_rng(3).integers(1, 256, 3000, np.uint8))
    found = {
        "empty": (b"", "the file is empty"),
        "blank": (b"\n\n\n", "no column"),
        "no_header": (plain.split(b"\n", 1)[1], "no column filename"),
        "no_azimuth": (plain.replace(b"azimuth_deg", b"azimuth"), "no column azimuth_deg"),
        "no_angle": (b"filename,yaw\n", "no column azimuth_deg or elevation_deg or"),
        "column_twice": (text(header=HEADER + ",tilt_deg"), "column tilt_deg is there twice"),
        "semicolons": (plain.replace(b",", b";"), "by commas, not ';'"),
        "tabs": (plain.replace(b",", b"\t"), "by commas, not '\\\\t'"),
        "bars": (plain.replace(b",", b"|"), r"by commas, not '\|'"),
        "nul": (text("x.png,\0,0,0"), "line 32: a NUL byte"),
        "utf_16": (plain.decode().encode("utf-16"), "line 1: a NUL byte"),
        "utf_16_no_mark": (plain.decode().encode("utf-16-le"), "line 1: a NUL byte"),
        "latin_1": (text() + b"caf\xe9.png,0,0,0\n", "line 32: not UTF-8"),
        "noise": (noise, "not UTF-8"),
        "picture": (b"\x89PNG\r\n\x1a\n" + bytes(50), "NUL byte"),
        "open_quote": (text('x.png,"0,0,0'), "unexpected end of data"),
        "quote_in_cell": (text('x.png,"0"1,0,0'), "expected after"),
        "huge_cell": (text("x.png,0,0,0," + "x" * 200_000), "field larger than field limit"),
        "json": (b'[{"filename": "00.png"}]\n', "no column"),
        "html": (b"<!doctype html>\n<p>404\n", "no column"),
    }
    for name, (content, reason) in found.items():
        yield Table(f"table_{name}.csv", TABLE, content, reason)
    yield Table("table_pipe.csv", TABLE, os.mkfifo, "not a regular file but a pipe")
    yield Table("table_folder.csv", TABLE, Path.mkdir, "not a regular file but a folder")
    for name, target, reason in (
        ("zero", "/dev/zero", "but a device"),
        ("dangling", "nowhere.csv", "link to a missing file"),
        ("self", "table_self.csv", "link that leads to itself"),
    ):
        yield Table(f"table_{name}.csv", TABLE, _link(target), reason)
    yield Table("table_sparse.csv", TABLE, _sparse, "file larger than 500 MB")


def _absent() -> Iterator[Table]:
    gone = "in the table, but no such picture"
    found = {
        "one": (["gone.png,0,0,0"], gone),
        "many": ([f"gone{number}.png,0,0,0" for number in range(40)], gone),
        "elsewhere": (["/etc/passwd,0,0,0", "../00.png,0,0,0", "~/a.png,0,0,0"], gone),
        "case": (["00.PNG,0,0,0"], "the same picture as 00.png in the table"),
        "not_a_picture": (["odd_plain.csv,0,0,0"], gone),
        "control": (["\x1b[31mred.png,0,0,0", "a\u2028b.png,0,0,0"], gone),
        "formula": (["=cmd|' /C calc'!A0,0,0,0"], gone),
        "same_picture": (["sub/05.png,0,0,0", "only.png,1,1,1", "sub/only.png,2,2,2"], ""),
    }
    for name, (more, reason) in found.items():
        bad = 2 if name == "same_picture" else len(more)
        yield Table(f"absent_{name}.csv", ABSENT, text(*more), reason, bad)


def _link(target: str):
    return lambda path: path.symlink_to(target)


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 5_000_000_000)
