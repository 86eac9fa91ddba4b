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


def run(module: str, *words, cwd=None, timeout: float = 280.0) -> Done:
    """`python -m module words` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("stdout", "stderr")]
        environment = dict(os.environ)
        arguments = module, [str(word) for word in words], *map(str, paths), environment, cwd
        process = _CONTEXT.Process(target=_main, args=arguments)
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
            raise TimeoutError(f"{module} {words} ran longer than {timeout} s")
        out, err = (path.read_text(errors="strict") for path in paths)
        return Done(process.exitcode, out, err)


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
