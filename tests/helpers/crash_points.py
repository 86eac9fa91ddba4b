"""Dies by SIGKILL before each file operation of a run in turn, and lets the run go on.

Prints how many such points there are; fails where a run cannot go on or ends otherwise. A
process of its own, as it forks: nothing of TensorFlow's has run yet.
"""

import os
import shutil
import signal
import sys

import numpy as np
import toy

from ssv_tf.training import engines, loop, monitor, run_folder

_EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "os.chmod"}


class Count:
    """Audit events of files below `folder`; the process dies at number `last`."""

    def __init__(self, folder, last):
        self.folder, self.last, self.seen = str(folder), last, 0
        sys.addaudithook(self)

    def __call__(self, event, arguments):
        if event not in _EVENTS or self.folder not in str(arguments[0]):
            return
        self.seen += 1
        if self.seen == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


def live(options, overwrite=False, last=0) -> tuple[int, int]:
    """(exit code, file operations) of a forked run that dies at operation `last`."""
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            count = Count(options.run.run_dir, last)
            code = loop.train(options, overwrite, quiet=True)
            os.write(write, str(count.seen).encode())
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        finally:
            os._exit(code)
    os.close(write)
    _, status = os.waitpid(process, 0)
    with os.fdopen(read) as stream:
        return os.waitstatus_to_exitcode(status), int(stream.read() or 0)


def end(options):
    """The last checkpoint's arrays and the logged steps, after a look for leftovers."""
    folder = options.run.run_dir
    left = [name for _, _, names in os.walk(folder) for name in names if name.startswith(".")]
    assert not left, f"half-written files remain: {left}"
    with open(f"{folder}/metrics.jsonl") as stream:
        logged = [line.split(",")[0] for line in stream]
    with np.load(f"{folder}/checkpoints/step-{options.run.steps}.npz") as archive:
        return {name: archive[name].tobytes() for name in archive.files}, logged


def main(place):
    toy.install(loop, engines, run_folder)
    # A killed process leaves what it wrote to the system; only a power cut would need the wait.
    os.fsync = lambda _: None
    monitor._board = lambda folder: monitor._NoBoard()
    whole = toy.OPTIONS.replace(run_dir=f"{place}/whole")
    code, points = live(whole)
    assert code == 0
    wanted, died = end(whole), 0
    for last in range(1, points + 1):
        broken = whole.replace(run_dir=f"{place}/broken-{last}")
        assert live(broken, last=last)[0] == -signal.SIGKILL, last
        assert live(broken)[0] == 0, f"the run killed at file operation {last} cannot go on"
        assert end(broken) == wanted, f"the run killed at file operation {last} ends otherwise"
        died += 1
    # The same for --overwrite of an older run of other settings.
    older = whole.replace(run_dir=f"{place}/older", seed=5)
    new, last = older.replace(seed=6), 0
    assert live(older)[0] == 0
    shutil.copytree(older.run.run_dir, f"{place}/kept")
    while True:
        last += 1
        shutil.rmtree(older.run.run_dir)
        shutil.copytree(f"{place}/kept", older.run.run_dir)
        code, _ = live(new, overwrite=True, last=last)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        assert live(new, overwrite=True)[0] == 0, f"killed at operation {last} of --overwrite"
        died += 1
    print(f"died {died} times")


if __name__ == "__main__":
    main(sys.argv[1])
