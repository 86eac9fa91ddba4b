"""Scores are read while a run goes on, targets are found between them, arms compared."""

import functools
import json
import stat

import pytest
from in_process import run_command

from tools import time_to_score

run_tool = functools.partial(run_command, time_to_score)
# A training that scores 20, 10 and 5 degrees, and ends where it is told to or after a while;
# a student, and its score of 4 degrees.
TRAINING = """#!/usr/bin/env python3
import json, pathlib, sys, time
words = dict(word[2:].split("=") for word in sys.argv[1:] if "=" in word)
if sys.argv[2] == "ssv_tf.train":
    assert words.get("steps", "5") == "5"
    assert ("score_interval" if "/there/" in words["run_dir"] else "evaluation_interval") in words
if sys.argv[2] == "ssv_tf.distill":
    time.sleep(0.2)
    sys.exit(0 if words["steps"] == "7" else "no such student")
if sys.argv[2] == "ssv_tf.evaluate":
    time.sleep(0.5)
    score = {"azimuth": {"median_error_deg": 4.0}}
    sys.exit(pathlib.Path(words["json"]).write_text(json.dumps(score)) and 0)
if words["seed"] == "9":
    sys.exit("no such car")
folder = pathlib.Path(words["run_dir"])
folder.mkdir(parents=True, exist_ok=True)
with (folder / "metrics.jsonl").open("a", buffering=1) as log:
    for step, error in ((100, 20.0), (200, 10.0), (300, 5.0)):
        log.write(json.dumps({"step": step, "kind": "train"}) + "\\n")
        log.write(json.dumps({"step": step, "kind": "score", "azimuth_median_deg": error}) + "\\n")
        time.sleep(0.1)
time.sleep(0 if words["seed"] == "1" else 60)
"""


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A checkout whose training only writes scores, as the directory that one is in."""
    monkeypatch.setattr(time_to_score, "_POLL_S", 0.02)
    python = tmp_path / "python"
    python.write_text(TRAINING)
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(time_to_score.sys, "executable", str(python))
    (tmp_path / "cars.flags").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_two_checkouts_are_timed_and_a_run_ends_at_the_lowest_target(tree, capsys):
    asked = [
        "--recipe=cars.flags",
        "--seeds=0,1",
        "--targets=15,7.5",
        f"--against={tree}",
        "--against_interval=score_interval",
        "--out=o",
    ]
    assert run_tool(*asked) == 0
    table = capsys.readouterr().out
    assert table.count("to a median of") == 2 and "to a median of 7.5 degrees" in table
    assert [
        line.split()[:3] for line in table.splitlines() if line.startswith(("here ", "there "))
    ][:4] == [
        ["here", "0", "150"],
        ["here", "1", "150"],
        ["there", "0", "150"],
        ["there", "1", "150"],
    ]
    assert table.count("core-seconds of 2 seeds: ") == 2
    scores = json.loads((tree / "o" / "there_1.json").read_text())
    assert [score["step"] for score in scores] == [100, 200, 300]
    assert 0 < scores[0]["seconds"] <= scores[-1]["seconds"] and scores[0]["core_seconds"] >= 0
    (tree / "python").unlink()  # what is finished is not trained again
    assert run_tool(*asked) == 0 and capsys.readouterr().out == table


def test_a_student_is_scored_last_and_its_scoring_takes_no_time(tree, capsys):
    asked = ["--recipe=cars.flags", "--seeds=1", "--targets=15,4.5", "--out=o"]
    assert run_tool(*asked, "--distill=--steps=7 --limit=3", "--train=--steps=5") == 0
    *scores, last = json.loads((tree / "o" / "here_1.json").read_text())
    assert [score["azimuth_median_deg"] for score in scores] == [20.0, 10.0, 5.0]
    assert last["azimuth_median_deg"] == 4.0 and last["step"] == 300
    assert 0.15 < last["seconds"] - scores[-1]["seconds"] < 0.9
    assert last["core_seconds"] > scores[-1]["core_seconds"]
    assert "to a median of 4.5 degrees" in capsys.readouterr().out
    read = time_to_score.read_result(tree / "o", "here", 1)
    assert time_to_score.reached(read, 4.5, "seconds") == last["seconds"]  # all of its time
    assert run_tool(*asked[:-1], "--out=p", "--distill=--steps=8") != 0
    assert "ended with exit code 1; see" in capsys.readouterr().err


def test_the_median_is_followed_linearly_between_two_scores():
    scores = [
        {"step": step, "seconds": 2 * step, time_to_score._SCORE: error}
        for step, error in ((100, 30.0), (200, 20.0), (300, 25.0), (400, 10.0))
    ]
    assert time_to_score.reached(scores, 22.0, "step") == pytest.approx(180.0)
    assert time_to_score.reached(scores, 30.0, "seconds") == pytest.approx(200.0)
    assert time_to_score.reached(scores, 9.0, "step") != time_to_score.reached(scores, 9.0, "step")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--recipe=none.flags"], "none.flags is no flag file"),
        (["--recipe=cars.flags", "--seeds=a"], "--seeds and --targets take numbers"),
        (["--recipe=cars.flags", "--seeds=9"], "a command ended with exit code 1"),
    ],
)
def test_mistakes_cost_one_line(tree, capsys, flags, expected):
    assert run_tool(*flags, "--out=o") != 0
    error = capsys.readouterr().err
    assert expected in error and "Traceback" not in error
