"""Size, operations, load time, memory and latency of exported .tflite files, side by side.

  python -m ssv_tf.export.benchmark exported/            # every .tflite of a folder
  python -m ssv_tf.export.benchmark A.tflite B.tflite --threads=1,2 --json=speed.json

Each file is measured in processes of its own, in turn with the others and for three rounds:
a busy moment of the machine then hits all of them, and the ratio to the first file holds even
where the milliseconds do not.
"""

import collections
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from ssv_tf.base import cli, files
from ssv_tf.base.errors import FlagError, UserError
from ssv_tf.export import tables

_LIMIT_S = 600.0  # for one file, one number of threads, one round
_MOST_THREADS = 256
_ROUNDS = 3  # processes for each file and number of threads
_CALLS = 50  # pictures timed in a process, after six unmeasured


def define_flags() -> None:
    """Registers this command's flags."""
    flags.DEFINE_list("threads", ["1", "2", "4"], "Numbers of threads; the ratio is of the first.")
    flags.DEFINE_string("json", "", "File for the figures as JSON.")
    flags.DEFINE_bool("overwrite", False, "Replace --json if it exists.")


def main(argv: Sequence[str]) -> None:
    """Measures, prints the tables as Markdown, and writes the figures where asked."""
    values = flags.FLAGS
    threads = _threads(values.threads)
    if values.json:
        files.refuse_existing(values.json, values.overwrite)
    rows = benchmark(model_files(argv[1:]), threads, _ROUNDS, _CALLS)
    print(to_markdown(rows), end="")
    if values.json:
        print(files.write_atomically(values.json, to_json(rows)), file=sys.stderr)


def _threads(words: list[str]) -> list[int]:
    try:
        numbers = list(dict.fromkeys(int(word) for word in words))
    except ValueError:
        numbers = []
    if not numbers or not all(1 <= number <= _MOST_THREADS for number in numbers):
        raise FlagError(f"--threads={','.join(words)}: give numbers from 1 to {_MOST_THREADS}")
    return numbers


def model_files(words: Sequence[str]) -> list[Path]:
    """The files that words name; a folder stands for its .tflite files, the largest first.

    Raises:
      FlagError: there are no words.
      UserError: a word names nothing, or a folder without such a file.
    """
    if not words:
        raise FlagError("name .tflite files or the folder of an export")
    paths = []
    for path in map(Path, words):
        if path.is_dir():
            inside = sorted(path.glob("*.tflite"), key=lambda file: (-file.stat().st_size, file))
            if not inside:
                raise UserError(f"{path} holds no .tflite file")
            paths += inside
        else:
            paths.append(path)
    return paths


def benchmark(paths: list[Path], threads: list[int], rounds: int, calls: int) -> list[dict]:
    """Measures every file.

    Args:
      paths: .tflite files of this package.
      threads: numbers of threads.
      rounds: processes for each file and number of threads.
      calls: pictures timed in each process.

    Returns:
      a row for each file: file, bytes, resolution, operations (kind -> count), load_ms and
      first_ms (medians), memory_mib (peak growth of the process, with the first number of
      threads, median), latency (a list: threads, median_ms, p90_ms, calls), ratio (of the median
      latency with the first number of threads to that of the first file, median over rounds).

    Raises:
      UserError: a file is none of this package or cannot be run.
    """
    from ssv_tf.export import litert

    for path in paths:  # all can be run, and lie in the page cache, before any is measured
        litert.check_file(path)
        _measured(path, threads[0], 1)
    runs = collections.defaultdict(list)
    for number in range(rounds):
        for at, path in enumerate(paths):
            print(f"round {number + 1} of {rounds}: {path}", file=sys.stderr, flush=True)
            for count in threads:
                runs[at, count].append(_measured(path, count, calls))
    return [_row(at, path, threads, runs) for at, path in enumerate(paths)]


def _measured(path: Path, threads: int, calls: int) -> dict:
    worker = [sys.executable, "-P", "-m", "ssv_tf.export.benchmark_worker"]
    try:
        done = subprocess.run(
            [*worker, str(path), str(threads), str(calls)],
            capture_output=True, text=True, timeout=_LIMIT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UserError(f"{path} took longer than {_LIMIT_S:.0f} s") from None
    if done.returncode < 0:
        raise UserError(f"{path} brought LiteRT down (signal {-done.returncode}); is it whole?")
    try:
        figures = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise UserError(f"{path} cannot be measured: {last}") from None
    if "error" in figures:
        raise UserError(figures["error"])
    return figures


def _row(at: int, path: Path, threads: list[int], runs: dict) -> dict:
    from ssv_tf.export import litert

    content = path.read_bytes()
    first = runs[at, threads[0]]
    every = [figures for count in threads for figures in runs[at, count]]
    memory = [figures["memory_mib"] for figures in first if figures["memory_mib"] is not None]
    ratios = [
        statistics.median(measured["call_ms"]) / statistics.median(reference["call_ms"])
        for measured, reference in zip(first, runs[0, threads[0]], strict=True)
    ]
    return {
        "file": str(path),
        "bytes": len(content),
        "resolution": first[0]["resolution"],
        "operations": dict(collections.Counter(litert.operations(content)).most_common()),
        "load_ms": statistics.median(figures["load_ms"] for figures in every),
        "first_ms": statistics.median(figures["first_ms"] for figures in every),
        "memory_mib": statistics.median(memory) if memory else None,
        "latency": [_latency(count, runs[at, count]) for count in threads],
        "ratio": statistics.median(ratios),
    }


def _latency(threads: int, runs: list[dict]) -> dict:
    times = np.concatenate([figures["call_ms"] for figures in runs])
    return {
        "threads": threads,
        "median_ms": float(np.median(times)),
        "p90_ms": float(np.percentile(times, 90)),
        "calls": len(times),
    }


def to_json(rows: list[dict]) -> str:
    """The rows as JSON text, with what they were measured on."""
    head = {
        "cpus": os.cpu_count(),
        "litert": importlib.metadata.version("ai-edge-litert"),
        "files": rows,
    }
    return json.dumps(head, indent=1) + "\n"


def to_markdown(rows: list[dict]) -> str:
    """One table of what the files cost, one of the operations they run."""
    names = _names([row["file"] for row in rows])
    counts = [entry["threads"] for entry in rows[0]["latency"]]
    head = ["file", "px", "kB", "operations", "load ms", "MiB"]
    head += [f"ms, {count} thread{'s' * (count > 1)} median / p90" for count in counts]
    cost = [[*head, "ratio"], *(_cost(row, name) for row, name in zip(rows, names, strict=True))]
    kinds: collections.Counter[str] = collections.Counter()
    for row in rows:
        kinds.update(row["operations"])
    operations = [["operation", *names]]
    for kind, _ in kinds.most_common():
        operations.append([kind, *(str(row["operations"].get(kind, 0)) for row in rows)])
    return f"{tables.markdown(cost)}\n{tables.markdown(operations)}"


def _cost(row: dict, name: str) -> list[str]:
    memory = "-" if row["memory_mib"] is None else f"{row['memory_mib']:.1f}"
    return [
        name,
        str(row["resolution"]),
        f"{row['bytes'] / 1000:.0f}",
        str(sum(row["operations"].values())),
        f"{row['load_ms']:.1f}",
        memory,
        *(f"{entry['median_ms']:.2f} / {entry['p90_ms']:.2f}" for entry in row["latency"]),
        f"{row['ratio']:.2f}",
    ]


def _names(paths: list[str]) -> list[str]:
    """Without their folders where that leaves them apart."""
    short = [Path(path).name for path in paths]
    return short if len(set(short)) == len(set(paths)) else paths


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
