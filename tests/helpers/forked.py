"""Real processes that start at once: forked from one that has imported TensorFlow already.

A process of its own takes seconds to import TensorFlow, most of what a test of a command costs.
For tests that need another environment (`KERAS_BACKEND`, ...) at import this is no help.
"""

import dataclasses
import multiprocessing
import os
import runpy
import sys
import tempfile
from pathlib import Path

from places import HELPERS, ROOT

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tensorflow", "keras"])


@dataclasses.dataclass(frozen=True)
class Done:
    """As subprocess.CompletedProcess."""

    returncode: int
    stdout: str
    stderr: str


class Running:
    """A process that was started; its output lies in files, as long as this is kept.

    Attributes:
      process: multiprocessing's, to be waited for or killed.
    """

    def __init__(self, module: str, words: tuple, environment: dict, cwd: Path | None) -> None:
        self._name, self._folder = f"{module} {words}", tempfile.TemporaryDirectory()
        self._paths = [Path(self._folder.name) / name for name in ("stdout", "stderr")]
        given = module, [str(word) for word in words], *map(str, self._paths), environment, cwd
        self.process = _CONTEXT.Process(target=_main, args=given)
        self.process.start()

    def end(self, timeout: float = 280.0) -> Done:
        """Waits for its end.

        Raises:
          TimeoutError: it takes longer; it has been killed.
        """
        self.process.join(timeout)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            raise TimeoutError(f"{self._name} ran longer than {timeout} s: {self.said()[-3000:]}")
        out, err = (path.read_text(errors="strict") for path in self._paths)
        return Done(self.process.exitcode, out, err)

    def said(self) -> str:
        """All output until now."""
        return "".join(path.read_text() for path in self._paths if path.exists())


def start(module: str, *words, cwd=None, environment=None) -> Running:
    """Starts `python -m module words` in a process of its own.

    Args:
      module: of the package, the tools or tests/helpers.
      words: its arguments.
      cwd: where it runs.
      environment: variables beside those of this process.
    """
    return Running(module, words, {**os.environ, **(environment or {})}, cwd)


def run(module: str, *words, cwd=None, timeout: float = 280.0) -> Done:
    """`python -m module words` in a process of its own, to its end."""
    return start(module, *words, cwd=cwd).end(timeout)


def _main(module, words, out, err, environment, cwd):
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
    sys.stdin = open(os.devnull)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", encoding="utf-8") for n in (1, 2))
    sys.stderr.reconfigure(errors="backslashreplace", line_buffering=True)
    sys.path[:0] = [str(HELPERS), str(ROOT)]
    if cwd is not None:
        os.chdir(cwd)
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
