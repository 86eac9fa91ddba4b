"""Each row changes what it says; runs are trained, skipped, failed and put into a table."""

import functools
import json
import os
import re
import signal
import threading
from pathlib import Path

import pytest
import tiny
from in_process import run_command
from places import ROOT

from ssv_tf import config
from ssv_tf.base import files
from ssv_tf.base.errors import SettingError
from tools import ablate, ablation_table

run_ablate = functools.partial(run_command, ablate)
CONFIGS = ROOT / "configs" / "ablations"
ROWS = sorted(path.stem for path in CONFIGS.glob("*.flags") if path.stem != ablate.BASE)
TINY = "".join(f"--{name}={value}\n" for name, value in (tiny.NETWORKS | {"steps": 2}).items())


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)  # flag files name each other from there


# --- The rows --------------------------------------------------------------------------------


def test_there_are_the_rows_of_both_questions():
    assert {"paper_objective", "only_symmetry", "no_mirror"} <= set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_differs_from_base_in_what_its_comment_says_and_in_nothing_else(name):
    path = CONFIGS / f"{name}.flags"
    head = path.read_text().split("\n--")[0]
    said = re.search(r"^# Changes: (.+)$", head, re.MULTILINE).group(1).split(", ")
    base = config.from_flag_file(CONFIGS / "base.flags")
    own = config.from_flag_file(path)
    assert set(ablation_table.changes(own, base)) == set(said)
    assert own.run.run_dir == f"runs/ablations/{name}"
    assert head.startswith("# Question: ") and "?" in head


def test_base_is_the_cars_but_shorter():
    base = config.from_flag_file(CONFIGS / "base.flags")
    cars = config.from_flag_file(ROOT / "configs" / "cars.flags")
    differing = set(ablation_table.changes(base, cars))
    intervals = {"checkpoint_interval", "evaluation_interval"}
    assert differing <= {"steps", "precision"} | intervals
    assert base.run.steps == 1200 and base.run.evaluation_interval == 400


# --- The command -----------------------------------------------------------------------------


SCORE = {
    "pictures": 50,
    "azimuth": {
        "median_error_deg": 12.34, "within_30": 0.7,
        "large_errors": {"pictures": 15, "half_circle": 2 / 3},
    },
    "elevation": {"mean_error_deg": 6.3},
    "tilt": {"mean_error_deg": 3.9},
}  # fmt: skip


@pytest.fixture
def configs(tmp_path):
    """A base and two rows, tiny."""
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "base.flags").write_text("--evaluation_interval=2\n" + TINY)
    for name, line in (("no_image", "--image_weight=0"), ("plain", "--nomirror_data")):
        (folder / f"{name}.flags").write_text(f"--flagfile={folder}/base.flags\n{line}\n")
    return folder


@pytest.fixture
def trained(monkeypatch):
    """Training replaced by what it leaves; the names of the runs that were trained."""
    names, failing = [], {}

    def call(words, log):
        given = dict(word[2:].split("=", 1) for word in words if "=" in word)
        run_dir = Path(given["run_dir"])
        names.append(f"{run_dir.parent.name}_{given['seed']}")
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"starting\n{failing.get(names[-1], '')}\n\n")
        if names[-1] in failing:
            return 1
        own = [f"--seed={given['seed']}", f"--run_dir={run_dir}"]
        options = config.from_flag_file(given["flagfile"], *own)
        files.write_atomically(run_dir / "options.json", options.to_json())
        lines = [{"step": step, "kind": "train", "seconds_per_step": 30.0} for step in (2, 6)]
        lines.append({"step": 6, "kind": "health", "health": 0.25, "stability": 0.5})
        text = "".join(json.dumps(line) + "\n" for line in lines)
        files.write_atomically(run_dir / "metrics.jsonl", text)
        return 0

    monkeypatch.setattr(ablate, "call", call)
    monkeypatch.setattr(ablate, "score_run", lambda run_dir: SCORE)
    return names, failing


def test_every_row_is_trained_with_every_seed_once(configs, trained, tmp_path):
    names, _ = trained
    words = f"--configs={configs}", f"--out={tmp_path / 'out'}", "--seeds=0,3"
    assert run_ablate(*words) == 0
    assert names == ["base_0", "no_image_0", "plain_0", "base_3", "no_image_3", "plain_3"]
    table = (tmp_path / "out" / "table.md").read_text()
    cells = ["12.3 / 12.3", "0.70 / 0.70", "0.90 / 0.90", "6.3 / 6.3", "3.9 / 3.9"]
    row = " | ".join(
        ["| no_image", "image_weight 0.4 to 0", *cells, "0.25 / 0.25", "- / -", "0.50 / 0.50"]
    )
    row += " | 3.0 / 3.0 |"
    assert row in table.splitlines() and "mirror_data true to false" in table
    kept = json.loads((tmp_path / "out" / "table.json").read_text())
    assert kept["rows"][1]["changed"] == {"image_weight": [0.4, 0.0]}
    assert kept["rows"][1]["seeds"]["3"]["numbers"]["axis_within_30"] == pytest.approx(0.9)
    assert run_ablate(*words) == 0 and len(names) == 6, "finished ones are not trained again"


def test_a_failed_run_is_told_and_tried_again_and_stops_no_other(
    configs, trained, tmp_path, capsys
):
    names, failing = trained
    failing["base_0"] = "error: step 3: v_style not a number"
    words = f"--configs={configs}", f"--out={tmp_path}", f"--table={tmp_path / 'own.md'}"
    assert run_ablate(*words) == 1
    assert names == ["base_0", "no_image_0", "plain_0"]
    table = (tmp_path / "own.md").read_text()
    assert "| base |  | failed | failed |" in table
    assert "- base, seed 0: `error: step 3: v_style not a number`" in table
    assert "1 of 3 failed: base_0" in capsys.readouterr().err
    failing.clear()
    assert run_ablate(*words) == 0 and names[3:] == ["base_0"]
    assert "failed" not in (tmp_path / "own.md").read_text()


def test_a_score_that_fails_is_a_failed_run(configs, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(ablate, "score_run", lambda run_dir: {}["weights"])
    assert run_ablate(f"--configs={configs}", f"--out={tmp_path}", "--only=plain") == 1
    assert "`KeyError: 'weights'`" in (tmp_path / "table.md").read_text()


def test_a_row_whose_settings_changed_since_is_not_finished(configs, trained, tmp_path):
    names, _ = trained
    words = f"--configs={configs}", f"--out={tmp_path}", "--only=plain"
    assert run_ablate(*words) == 0
    with (configs / "plain.flags").open("a") as stream:
        stream.write("--viewpoint_weight=0\n")
    assert run_ablate(*words) == 0 and names == ["plain_0"] * 2


def test_only_some_rows_leave_the_others_in_the_table(configs, trained, tmp_path):
    for name in ("plain", "base"):
        assert run_ablate(f"--configs={configs}", f"--out={tmp_path}", f"--only={name}") == 0
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines if line.startswith("| ")] == [
        "| row", "| base", "| plain",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "words, said",
    [
        (["--only=hue"], "--only=hue: no hue; rows: base, no_image, plain"),
        (["--seeds=one"], "--seeds=one must be whole numbers"),
        (["--table=table.csv"], "must end in .md"),
        (["--configs=configs/none"], "has no base.flags"),
        (["spare"], "takes flags only"),
    ],
)
def test_a_wrong_flag_is_one_line(configs, trained, tmp_path, capsys, words, said):
    given = [f"--configs={configs}", f"--out={tmp_path / 'out'}", *words]
    assert run_ablate(*given) == 2
    assert said in capsys.readouterr().err and not trained[0]


def test_a_file_that_is_no_table_is_kept(configs, trained, tmp_path):
    path = tmp_path / "thesis.md"
    path.write_text("years of work")
    assert run_ablate(f"--configs={configs}", f"--out={tmp_path / 'o'}", f"--table={path}") == 2
    assert path.read_text() == "years of work"


def test_rows_on_other_pictures_are_refused_before_anything_runs(configs):
    (configs / "plain.flags").write_text("--data=photos\n")
    with pytest.raises(SettingError, match=r"plain\.flags: --data=photos"):
        ablate.read_rows(configs)


def test_a_supervised_row_says_so_in_the_table():
    ceiling = config.Options.of(supervised=True, seed=4)
    changed = ablation_table.changes(ceiling, config.Options())
    rows = [{"name": "ceiling", "changed": changed, "seeds": {0: None}}]
    assert f"| ceiling | {config.SUPERVISED} |" in ablation_table.to_markdown(rows, [0])


def test_health_of_the_saved_models_goes_before_that_of_the_log(tmp_path):
    assert ablation_table.numbers_of(SCORE, tmp_path)["health"] is None
    files.write_atomically(tmp_path / "metrics.jsonl", '{"step": 1, "health": 0.5}\n')
    assert ablation_table.numbers_of(SCORE, tmp_path)["health"] == 0.5
    files.write_atomically(tmp_path / "models" / "health.json", '{"health": 0.75}')
    found = ablation_table.numbers_of(SCORE, tmp_path)
    assert found["health"] == 0.75 and found["stability"] is None


def test_signals_of_older_runs_are_read_under_the_names_of_today(tmp_path):
    files.write_atomically(tmp_path / "metrics.jsonl", '{"step": 1, "handed": 0.25}\n')
    files.write_atomically(tmp_path / "models" / "health.json", '{"steady": 0.75}')
    found = ablation_table.numbers_of(SCORE, tmp_path)
    assert found["handedness"] == 0.25 and found["stability"] == 0.75


def test_results_of_before_a_column_was_there_leave_it_empty():
    numbers = ablation_table.numbers_of(SCORE, Path("absent"))
    old = {name: value for name, value in numbers.items() if name != "stability"}
    rows = [{"name": "base", "changed": {}, "seeds": {0: {"status": "done", "numbers": old}}}]
    assert " | - | 0.0 |" in ablation_table.to_markdown(rows, [0]).splitlines()[-1]


# --- Processes -------------------------------------------------------------------------------


def test_output_of_a_command_is_kept_and_its_last_line_told(tmp_path):
    log = tmp_path / "logs" / "a.log"
    assert ablate.call(["timeit", "-n1", "-r1", "print('well')"], log) == 0
    assert ablate.call(["no_such_module_at_all"], log) == 1
    assert "well" in log.read_text()
    assert ablate.last_line(log).endswith("No module named no_such_module_at_all")


def test_a_signal_ends_the_command_first_and_then_the_rest(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(SystemExit) as end:
        ablate.call(["timeit", "-n1", "-r1", "import time; time.sleep(100)"], tmp_path / "a.log")
    assert end.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.slow
def test_a_real_run_goes_from_its_flag_file_into_the_table(configs, tmp_path):
    with (configs / "base.flags").open("a") as stream:
        stream.write("--limit=16\n--supervised\n")  # V alone: half the time
    words = f"--configs={configs}", f"--out={tmp_path / 'out'}", "--only=base"
    assert run_ablate(*words) == 0, (tmp_path / "out" / "logs" / "base_0.log").read_text()
    found = json.loads((tmp_path / "out" / "results" / "base_0.json").read_text())
    assert found["status"] == "done" and found["score"]["pictures"] == 1000
    assert found["score"]["calibrated_on"] == 100 and found["numbers"]["minutes"] > 0
    assert found["score"]["training"] == config.SUPERVISED
    options = json.loads((tmp_path / "out" / "base" / "seed_0" / "options.json").read_text())
    assert (options["steps"], options["limit"], options["seed"]) == (2, 16, 0)
    assert run_ablate(*words) == 0
    log = (tmp_path / "out" / "logs" / "base_0.log").read_text()
    assert log.count("training on 16 pictures") == 1, "what is finished is not trained again"
