"""Builds `dist/` from `page/`: for developers; needs node and npm, and their registry once.

  python -m ssv_tf.export.web.build            writes export/web/dist
  python -m ssv_tf.export.web.build --out=DIR  writes it elsewhere

The npm packages are those of page/package-lock.json, by their hashes. `dist/` is committed and
installed, so that nobody who writes a page needs node.
"""

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from ssv_tf.base import cli, files
from ssv_tf.base.errors import FlagError, UserError
from ssv_tf.export.web import site

SOURCE = Path(__file__).parent / "page"
RECORD = "built_from.json"
_INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")


def define_flags() -> None:
    """Registers this command's flags."""
    flags.DEFINE_string("out", str(site.BUILT), "Folder to write to.")


def main(argv: Sequence[str]) -> None:
    """Builds and names the files."""
    if argv[1:]:
        raise FlagError(f"unexpected argument {argv[1]!r}; every option is a --flag")
    out = Path(flags.FLAGS.out)
    build(out)
    for name in site.BUILT_FILES:
        print(f"{(out / name).stat().st_size:>9,} {out / name}")


def build(out: Path) -> None:
    """Installs the packages in a temporary folder, builds there, and copies the result.

    Raises:
      UserError: node or npm are missing, or one of them fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "page"
        shutil.copytree(SOURCE, work, ignore=shutil.ignore_patterns("node_modules"))
        _run(_INSTALL, work)
        _run(("node", "build.mjs", "built"), work)
        for name in site.BUILT_FILES:
            files.write_atomically(out / name, (work / "built" / name).read_bytes())
    record = json.dumps({"sources": source_hashes()}, indent=1) + "\n"
    files.write_atomically(out / RECORD, record)


def source_hashes() -> dict[str, str]:
    """SHA-256 of every file that the built ones are made of, by name."""
    paths = sorted(path for path in SOURCE.rglob("*") if _is_source(path))
    return {
        path.relative_to(SOURCE).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }


def _is_source(path: Path) -> bool:
    return path.is_file() and "node_modules" not in path.parts


def _run(command: tuple[str, ...], folder: Path) -> None:
    if not shutil.which(command[0]):
        raise UserError(f"{command[0]} is not installed; the page is built with node and npm")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        raise UserError(f"{' '.join(command[:2])} failed: {said}")


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
