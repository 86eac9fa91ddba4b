"""The benchmark measures what it prints; a bad file costs one line."""

import json
import subprocess
import sys

import exported
import pytest
from in_process import run_command

from ssv_tf.base import files
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.export import benchmark, litert, tflite


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two good files, and some that are none."""
    place, folded = tmp_path_factory.mktemp("benchmark"), exported.folded()
    for kind in ("fp32", "fp16"):
        tflite.write(folded, kind, place / "good" / f"model_{kind}.tflite")
    good = (place / "good" / "model_fp32.tflite").read_bytes()
    (place / "cut.tflite").write_bytes(good[: len(good) // 2])
    (place / "empty.tflite").write_bytes(b"")
    (place / "photo.tflite").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(500))
    (place / "other.tflite").write_bytes(exported.foreign(place / "saved"))
    return place


def _run(capsys, *words):
    """Exit code, standard output, lines of the standard error."""
    code = run_command(benchmark, *words)
    said = capsys.readouterr()
    return code, said.out, said.err.splitlines()


@pytest.mark.slow
def test_it_measures_every_file_and_writes_both_tables(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "_ROUNDS", 1)
    json_path = tmp_path / "deep" / "speed.json"
    words = ("--threads=1,2", f"--json={json_path}", folder / "good")
    code, said, _ = _run(capsys, *words)
    assert code == 0 and "model_fp32.tflite" in said and "| ratio" in said
    figures = json.loads(json_path.read_text())
    assert figures["cpus"] > 0 and figures["litert"].startswith("2.")
    first, second = figures["files"]
    assert first["file"].endswith("model_fp32.tflite")  # the largest first
    assert second["file"].endswith("model_fp16.tflite")
    for row in (first, second):
        content = (folder / "good" / row["file"]).read_bytes()
        assert row["bytes"] == len(content) and row["resolution"] == exported.SIZE
        assert sum(row["operations"].values()) == len(litert.operations(content))
        assert row["operations"]["ATAN2"] == 1
        assert row["load_ms"] > 0 and row["first_ms"] > 0 and row["memory_mib"] > 0.1
        assert [entry["threads"] for entry in row["latency"]] == [1, 2]
        assert all(0 < e["median_ms"] <= e["p90_ms"] and e["calls"] == 50 for e in row["latency"])
    assert first["ratio"] == 1.0 and second["ratio"] > 0
    assert second["operations"]["DEQUANTIZE"] > first["operations"].get("DEQUANTIZE", 0)
    code, _, lines = _run(capsys, *words)
    assert code == 2 and "--overwrite" in lines[0] and len(lines) == 1


def test_the_process_that_measures_holds_no_tensorflow():
    code = (
        "import sys, ssv_tf.export.benchmark_worker; "
        "print({'tensorflow', 'keras', 'jax'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "set()\n"


def test_ratios_are_of_the_same_round_and_percentiles_of_all_calls(folder, monkeypatch):
    """The second file takes half of the first's time in every round, the last of which is slow."""
    paths = benchmark.model_files([str(folder / "good")])
    seen = []

    def measured(path, threads, calls):
        round_number = len(seen) // 2 if calls == 10 else -1
        seen.extend([path] if calls == 10 else [])
        unit = (100.0 if round_number == 2 else 1.0) / (1 + (path == paths[1]))
        return {
            "resolution": 32, "load_ms": 7.0, "first_ms": 3.0, "memory_mib": None,
            "call_ms": [unit * (1 + i / 10) for i in range(calls)],
        }  # fmt: skip

    monkeypatch.setattr(benchmark, "_measured", measured)
    first, second = benchmark.benchmark(paths, [1], rounds=3, calls=10)
    assert seen == paths * 3  # in turn
    assert (first["ratio"], second["ratio"]) == (1.0, 0.5)
    assert first["latency"][0]["calls"] == 30
    assert first["latency"][0]["median_ms"] == pytest.approx(1.7)  # of 10 slow and 20 quick
    assert first["latency"][0]["p90_ms"] == pytest.approx(161.0)
    table = benchmark.to_markdown([first, second])
    assert " 0.50 |" in table and " -" in table.splitlines()[2] and "1.70 / 161.00" in table
    assert len({len(line) for line in table.split("\n\n")[0].splitlines()}) == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["missing.tflite"], 1, "missing.tflite cannot be read: No such file"),
        (["empty.tflite"], 1, "empty.tflite is no TFLite file: it is empty"),
        (["photo.tflite"], 1, "photo.tflite is no TFLite file"),
        (["good/model_fp32.tflite", "cut.tflite"], 1, "cut.tflite cannot be run, is it whole?"),
        (["other.tflite"], 1, "other.tflite is another kind of model"),
        (["saved"], 1, "saved holds no .tflite file"),
        ([], 2, "name .tflite files"),
        (["--threads=1,0", "good"], 2, "--threads=1,0"),
        (["--threads=two", "good"], 2, "--threads=two"),
    ],
)
def test_a_bad_file_or_flag_costs_one_line(folder, monkeypatch, capsys, words, code, said):
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    got, out, lines = _run(capsys, "--json=speed.json", *words)
    assert got == code and out == "" and len(lines) == 1
    assert lines[0].startswith("error: ") and said in lines[0]
    assert sorted(folder.rglob("*")) == before


def test_a_file_that_brings_the_process_down_is_named(folder, monkeypatch):
    path = folder / "good" / "model_fp32.tflite"
    for done, words in (
        (subprocess.CompletedProcess([], -11, "", ""), "brought LiteRT down .signal 11."),
        (subprocess.CompletedProcess([], 1, "", "a\nMemoryError\n"), "measured: MemoryError"),
    ):
        monkeypatch.setattr(subprocess, "run", lambda *_, done=done, **__: done)
        with pytest.raises(UserError, match=words) as caught:
            benchmark.benchmark([path], [1], 1, 1)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("place", ["file/speed.json", "/proc/no/speed.json"])
def test_a_table_that_cannot_be_written_is_still_shown(
    folder, tmp_path, monkeypatch, capsys, place
):
    (tmp_path / "file").write_text("in the way")
    row = {
        "file": "a.tflite", "bytes": 1000, "resolution": 32, "operations": {"CONV_2D": 2},
        "load_ms": 1.0, "first_ms": 1.0, "memory_mib": 2.0, "ratio": 1.0,
        "latency": [{"threads": 1, "median_ms": 1.0, "p90_ms": 2.0, "calls": 3}],
    }  # fmt: skip
    asked = []
    monkeypatch.setattr(benchmark, "benchmark", lambda *given: asked.append(given) or [row])
    monkeypatch.chdir(tmp_path)
    code, out, lines = _run(capsys, f"--json={place}", folder / "good")
    assert code == 1 and "a.tflite" in out and len(lines) == 1
    assert asked[0][1:] == ([1, 2, 4], 3, 50)  # threads, rounds, calls
    assert lines[0].startswith("error: cannot write")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_files_of_one_name_keep_their_folders(tmp_path):
    assert benchmark._names(["a/m.tflite", "b/m.tflite"]) == ["a/m.tflite", "b/m.tflite"]
    assert benchmark._names(["a/m.tflite", "b/n.tflite"]) == ["m.tflite", "n.tflite"]
    with pytest.raises(SettingError):
        benchmark.model_files([])
    with pytest.raises(SettingError, match="exists"):
        files.refuse_existing(tmp_path, False)
