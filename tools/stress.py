"""Many clients at once, some with broken pictures: are the answers right and does memory stay?

  python -m tools.stress --serving=OUT/serving --grpc
  python -m tools.stress --host=127.0.0.1:8501

The first starts the local server for the time of the test and tells its memory; the second asks a
server that runs already, such as TensorFlow's own.
"""

import contextlib
import dataclasses
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import flags
from PIL import Image

from ssv_tf import viewpoint
from ssv_tf.base import cli, files
from ssv_tf.base.errors import FlagError, UserError
from ssv_tf.export.serving import calls
from ssv_tf.export.serving.names import DEFAULT_MODEL

TOLERANCE_DEG = 0.05
_SIDES = ((32, 32), (20, 90), (150, 60), (240, 320), (97, 41), (400, 300))
_START_S = 120


def define_flags() -> None:
    """Registers the command's flags."""
    flags.DEFINE_string("serving", "", "Folder that export wrote; the local server serves it.")
    flags.DEFINE_string("host", "", "HOST:PORT of a running server instead.")
    flags.DEFINE_string("model", DEFAULT_MODEL, "What the server calls the model.")
    flags.DEFINE_bool("grpc", False, "Speak gRPC instead of REST.")
    flags.DEFINE_integer("requests", 10_000, "All clients together.", lower_bound=1)
    flags.DEFINE_integer("clients", 32, "Requests under way at a time.", 1, 256)
    flags.DEFINE_float("bad_share", 0.2, "Share of broken pictures.", 0.0, 1.0)
    flags.DEFINE_string("json", "", "File for the figures.")
    flags.DEFINE_bool("overwrite", False, "Replace that file.")


def main(argv: Sequence[str]) -> None:
    """Runs the test, prints the figures; UserError where an answer was wrong."""
    values = flags.FLAGS
    if argv[1:]:
        raise FlagError(f"unexpected argument {argv[1]!r}; every option is a --flag")
    if bool(values.serving) == bool(values.host):
        raise FlagError("give either --serving or --host")
    if values.json:
        files.refuse_existing(values.json, values.overwrite)
    protocol = "grpc" if values.grpc else "rest"
    kind = calls.GrpcCaller if values.grpc else calls.RestCaller
    with _server(values) as (host, process):
        host = host[protocol] if isinstance(host, dict) else host
        caller = kind(host, values.model)
        figures = run_load(caller, values.requests, values.clients, values.bad_share, process)
    text = json.dumps({"protocol": protocol} | figures, indent=1) + "\n"
    print(text, end="")
    if values.json:
        files.write_atomically(values.json, text)
    if figures["wrong"]:
        raise UserError(f"{figures['wrong']} wrong answers, such as: {figures['first_wrong']}")


@dataclasses.dataclass(frozen=True)
class Sample:
    """A picture file, and the degrees a lone request was answered with; None: a broken one."""

    content: bytes
    degrees: np.ndarray | None = None


def good_pictures(seed: int = 0, copies: int = 4) -> list[bytes]:
    """JPEG and PNG files of smooth patterns in several sizes."""
    random = np.random.default_rng(seed)
    pictures = []
    for i, (height, width) in enumerate(_SIDES * copies):
        small = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        stream = io.BytesIO()
        small.resize((width, height), Image.Resampling.BICUBIC).save(stream, ("JPEG", "PNG")[i % 2])
        pictures.append(stream.getvalue())
    return pictures


def broken_pictures(good: bytes) -> list[bytes]:
    """Files that must be refused: empty, text, cut off, damaged, huge by their header, foreign.

    Args:
      good: a JPEG file.
    """
    header = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
    return [
        b"",
        b"hello",
        good[: len(good) // 2],
        b"\xff\xd8\xff" + bytes(200),
        good[:20] + b"\xff" * 40 + good[60:],
        header + (30_000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00",
        b"RIFF\x10\x00\x00\x00WEBPVP8 ",
        b"%PDF-1.7\n" + bytes(3000),
    ]


def run_load(
    caller: calls.Caller,
    requests: int,
    clients: int,
    bad_share: float,
    process: int | None = None,
    patience: calls.Patience | None = None,
) -> dict:
    """Sends pictures from many threads and checks every answer.

    Args:
      caller: of the server.
      requests: how many.
      clients: threads.
      bad_share: share of broken pictures.
      process: the server's process id, to tell its memory.
      patience: deadlines and retries.

    Returns:
      figures: requests, clients, right, refused, wrong, first_wrong, seconds, milliseconds a
      request (median and 99th percentile), megabytes of memory after a tenth of the requests, at
      the end, and the most seen in between.
    """
    patience = patience or calls.Patience(deadline_s=120.0, retries=20)
    good = good_pictures()
    samples = [Sample(c, _degrees(caller, c, patience)) for c in good]
    broken = [Sample(content) for content in broken_pictures(good[0])]
    tally = _Tally(requests, process)
    random = np.random.default_rng(1)
    order = [
        broken[random.integers(len(broken))]
        if random.random() < bad_share
        else samples[random.integers(len(samples))]
        for _ in range(requests)
    ]
    start = time.perf_counter()
    threads = [
        threading.Thread(target=_client, args=(caller, order[i::clients], patience, tally))
        for i in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"requests": requests, "clients": clients} | tally.figures(time.perf_counter() - start)


def _client(
    caller: calls.Caller, samples: list[Sample], patience: calls.Patience, tally: "_Tally"
) -> None:
    for sample in samples:
        start = time.perf_counter()
        try:
            outcome = _judged(caller, sample, patience)
        except Exception as error:  # a thread that died unseen would pass for a right answer
            outcome = f"{type(error).__name__}: {error}"
        tally.add(outcome, time.perf_counter() - start)


def _judged(caller: calls.Caller, sample: Sample, patience: calls.Patience) -> str:
    """The outcome: "right", "refused" as it must be, or what was wrong."""
    try:
        degrees = _degrees(caller, sample.content, patience)
    except calls.CallError as error:
        if sample.degrees is None and error.code == calls.INVALID_ARGUMENT:
            return "refused"
        return f"a {'broken' if sample.degrees is None else 'good'} picture got {error}"
    if sample.degrees is None:
        return f"{sample.content[:20]!r} was answered {degrees}"
    apart = np.abs(viewpoint.wrap_deg(degrees - sample.degrees)).max()
    return "right" if apart < TOLERANCE_DEG else f"{degrees} in company, {sample.degrees} alone"


def _degrees(caller: calls.Caller, content: bytes, patience: calls.Patience) -> np.ndarray:
    return np.array(calls.viewpoint_of(calls.with_retries(caller, content, patience))[0])


class _Tally:
    """Outcomes, times and the server's memory, from all threads."""

    def __init__(self, requests: int, process: int | None) -> None:
        self._lock = threading.Lock()
        self._counts = {"right": 0, "refused": 0, "wrong": 0}
        self._first_wrong = ""
        self._times_s: list[float] = []
        self._memory_mb: list[float] = []
        self._process, self._every = process, max(1, requests // 10)

    def add(self, outcome: str, seconds: float) -> None:
        with self._lock:
            key = outcome if outcome in self._counts else "wrong"
            self._counts[key] += 1
            if key == "wrong":
                self._first_wrong = self._first_wrong or outcome
            self._times_s.append(seconds)
            if self._process and len(self._times_s) % self._every == 0:
                self._memory_mb.append(resident_mb(self._process))

    def figures(self, seconds: float) -> dict:
        times_ms = np.array(self._times_s) * 1e3
        figures = self._counts | {"first_wrong": self._first_wrong, "seconds": round(seconds, 1)}
        figures |= {"median_ms": round(float(np.median(times_ms)), 1)}
        figures |= {"p99_ms": round(float(np.percentile(times_ms, 99)), 1)}
        if self._memory_mb:
            first, last, most = self._memory_mb[0], self._memory_mb[-1], max(self._memory_mb)
            figures |= {"memory_start_mb": first, "memory_end_mb": last, "memory_most_mb": most}
        return figures


def resident_mb(process: int) -> float:
    """Megabytes of a process in memory (Linux)."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise UserError(f"process {process} has ended")


@contextlib.contextmanager
def _server(values: flags.FlagValues) -> Iterator[tuple[dict[str, str] | str, int | None]]:
    """(addresses by protocol, process id) of a server of our own, or (the one given, None)."""
    if values.host:
        yield values.host, None
        return
    with started(Path(values.serving)) as (ports, process):
        yield {key: f"127.0.0.1:{port}" for key, port in ports.items()}, process


@contextlib.contextmanager
def started(serving: Path) -> Iterator[tuple[dict[str, int], int]]:
    """The local server as a process of its own: (ports by protocol, process id).

    Raises:
      UserError: it does not start; with its own words.
    """
    command = [sys.executable, "-m", "tools.local_server"]
    command += [f"--serving={serving}", "--grpc_port=0", "--rest_port=0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout
    try:
        timer = threading.Timer(_START_S, process.kill)
        timer.start()
        line = process.stdout.readline()
        timer.cancel()
        if not line:
            raise UserError(f"the local server does not start with {serving}; run it to see why")
        yield json.loads(line), process.pid
    finally:
        process.terminate()
        process.wait()


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
