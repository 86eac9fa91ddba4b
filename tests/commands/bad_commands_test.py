"""The corpus through every command that reads pictures or labels: named, counted, on or a stop."""

import csv
import functools
import io
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import bad_corpus
import bad_tables
import forked
import pytest
import tiny
from bad_tables import ABSENT, READS, ROWS, TABLE
from evaluate_test import FakeRun, _picture
from in_process import run_command
from PIL import Image

from ssv_tf import calibrate, evaluate, predict
from ssv_tf.base import files
from ssv_tf.base.errors import UserError
from ssv_tf.data import inputs, labels, sources
from ssv_tf.evaluation import labelled
from ssv_tf.export import __main__ as export
from ssv_tf.models import inference
from ssv_tf.training import run_folder

# Pillow's warnings are silenced by the reader; pytest shows what the commands do not.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """(folder, names read or refused at will, names read, names refused), with a table of all."""
    place = tmp_path_factory.mktemp("corpus")
    cases = bad_corpus.write(place, bad_corpus.pictures())
    bad_corpus.links_between_folders(place)
    by_kind: dict[str, set[str]] = {"either": set(), "good": set(), "bad": set()}
    for case in cases:
        verdict = "good" if not case.reason else "bad"
        key = "either" if case.reason == bad_corpus.EITHER else verdict
        by_kind[key].add(files.printable(case.name))
    with open(place / "labels.csv", "w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(bad_tables.HEADER.split(","))
        for number, name in enumerate(sorted(set().union(*by_kind.values()))):
            # A backslash in a table means a folder, so such a name cannot be given in one.
            rows.writerow([name.strip(), number % 360 - 180, number % 30, number % 5])
    return place, by_kind


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run whose V reads the angles off the picture."""
    fake = FakeRun(tmp_path / "run")
    fake.path.mkdir()
    monkeypatch.setattr(run_folder, "load", lambda path, preset=None: fake)
    monkeypatch.setattr(inference, "predict", lambda network, images: network(images))
    monkeypatch.setattr(labelled, "predictor", lambda network: network)
    return fake


def _check_named(text: str, corpus, least_good: int = 0) -> None:
    """Each bad file is named once, no good one is, and nothing else went wrong."""
    place, names = corpus
    assert "Traceback" not in text and "Warning: " not in text
    named = re.findall(r"skipped (.+?): ", text)
    bare = [name.removeprefix(f"{place}/") for name in named]
    for name in names["bad"]:
        assert bare.count(files.one_line(name)) == 1, name
    assert not {files.one_line(name) for name in names["good"]} & set(bare)
    assert len(set(bare)) == len(bare)


# predict


@pytest.mark.slow
def test_predict_names_each_bad_file_once_and_goes_on(run, corpus, tmp_path, capsys):
    place, names = corpus
    table, drawn = tmp_path / "angles.csv", tmp_path / "drawn"
    words = ("--run=x", f"--out={table}", f"--draw_dir={drawn}", place)
    assert run_command(predict, *words) == 0
    shown = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(table.read_bytes().decode(), newline="")))
    predicted = [row["filename"].removeprefix(f"{place}/") for row in rows]
    assert names["good"] <= set(predicted) <= names["good"] | names["either"]
    assert len(predicted) == len(set(predicted)) == len(list(drawn.glob("*_axes*.png")))
    _check_named(shown.err, corpus)
    total = sum(map(len, names.values()))
    skipped = total - len(predicted)
    assert f"{skipped} skipped, {len(predicted)} predicted (" in shown.err
    assert len([line for line in shown.err.splitlines() if line.startswith("skipped ")]) == skipped


def test_predict_stops_by_flag_and_has_written_nothing(run, corpus, tmp_path, capsys):
    words = ("--run=x", "--bad_pictures=stop", f"--draw_dir={tmp_path / 'drawn'}")
    out = tmp_path / "angles.csv"
    assert run_command(predict, *words, f"--out={out}", corpus[0]) == 1
    shown = capsys.readouterr().err.splitlines()
    assert shown[-1].startswith("error: ") and "--bad_pictures=skip goes on" in shown[-1]
    assert not out.exists() and not (tmp_path / "drawn").exists()
    assert run_command(predict, *words, f"--out={out}", corpus[0] / "whole") == 0
    whole = [name for name in corpus[1]["good"] if name.startswith("whole/")]
    assert len(list((tmp_path / "drawn").glob("*_axes*.png"))) == len(whole) > 6


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("x" * 300 + ".png", "cannot be read: File name too long"),
        ("/".join(["d" * 200] * 30), "cannot be read: File name too long"),
        ("a\0b", "no such file"),
        ("[", "no such file"),
        ("gone\x1b[31m\n.png", "no such file"),
        ("caf\udce9.png", "no such file"),
    ],
)
def test_predict_names_words_that_no_file_can_have(run, tmp_path, capsys, word, reason):
    good = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(good)
    # A NUL never comes from a shell, and flags refuse it; a program may call `expand`.
    if "\0" in word:
        ledger = inputs.Ledger()
        assert [i.source for i in inputs.expand([word, str(good)], ledger)] == [good]
        assert [name for name, _ in ledger.skipped] == [files.printable(word)]
        return
    assert run_command(predict, "--run=x", word, good) == 0
    shown = capsys.readouterr().err
    assert f": {reason}\n" in shown and "1 skipped, 1 predicted" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("name", ["dangling.png", "self.png", "pipe.png", "zero.png"])
def test_predict_tells_why_a_named_file_is_none(run, corpus, capsys, name):
    assert run_command(predict, "--run=x", corpus[0] / "places" / name) == 1
    shown = capsys.readouterr().err
    assert re.search(r"skipped .*(link to a missing|leads to itself|a pipe|a device)", shown)


# calibrate and evaluate


@pytest.mark.slow
def test_calibrate_and_evaluate_go_through_the_corpus(run, corpus, capsys, caplog, tmp_path):
    place, names = corpus
    words = ("--run=x", f"--data_dir={place}", f"--labels={place}/labels.csv")
    assert run_command(calibrate, *words, "--count=1000") == 0
    fitted = int(re.search(r"calibrated on (\d+) pictures", capsys.readouterr().out)[1])
    assert fitted >= len(names["good"]) - 5
    _check_all_named(caplog.messages, names)
    caplog.clear()
    score, page = tmp_path / "score.json", tmp_path / "report.html"
    assert run_command(evaluate, *words, f"--json={score}", f"--report={page}") == 0
    result = json.loads(score.read_text())
    assert result["pictures"] + result["calibrated_on"] == fitted
    assert result["skipped"] >= len(names["bad"]) and page.read_text().endswith("</html>\n")
    _check_all_named(caplog.messages, names)
    for command in (calibrate, evaluate):
        assert run_command(command, *words, "--bad_pictures=stop", "--overwrite") == 1
        assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")


def _check_all_named(lines: list[str], names) -> None:
    for name in names["bad"]:
        starts = f"skipped {files.one_line(name)}: "
        assert sum(line.startswith(starts) for line in lines) == 1, name
    assert sum(" pictures: " in line and line.startswith("skipped") for line in lines) == 1


# Tables


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """(folder of 30 pictures and two more, tables by name)."""
    place = tmp_path_factory.mktemp("tables")
    (place / "sub").mkdir()
    for number, row in enumerate(bad_tables.rows()):
        azimuth = float(row.split(",")[1])
        name = bad_tables.names()[number]
        # The ends of the paths find their pictures; one is given with its folder too.
        Image.fromarray(_picture(azimuth, 10, 8)).save(place / "sub" / name)
    Image.fromarray(_picture(0, 10, 8)).save(place / "sub" / "only.png")
    return place, {table.name: table for table in bad_tables.write(place)}


def test_there_are_many_tables(tables):
    assert len(tables[1]) >= 70


@pytest.mark.parametrize("name", [table.name for table in bad_tables.tables()])
@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_each_table_through_calibrate(run, tables, capsys, caplog, name, policy):
    place, known = tables
    if name not in known:
        pytest.skip("this file system cannot have it")
    table, started = known[name], time.process_time()
    code = run_command(
        calibrate, "--run=x", f"--data_dir={place}", f"--labels={place / name}",
        f"--bad_rows={policy}", "--overwrite",
    )  # fmt: skip
    shown, warned = capsys.readouterr(), [m for m in caplog.messages if "skipped" in m]
    assert time.process_time() - started < 10
    if table.verdict == TABLE or (table.verdict == ROWS and policy == "stop"):
        assert code == 1 and len(shown.err.splitlines()) == 1 and len(shown.err) < 2500
        assert shown.err.startswith("error: ") and re.search(table.reason, shown.err)
        assert name in shown.err
        return
    assert code == 0
    more = 1 if name == "absent_same_picture.csv" else 0
    assert f"calibrated on {bad_tables.PICTURES + more} pictures" in shown.out
    if table.verdict == READS:
        assert not warned
    elif table.verdict == ROWS:
        assert len(warned) == table.bad + 1 and re.search(table.reason, warned[0])
        assert warned[-1].endswith(f"skipped {table.bad} rows with mistakes")
    else:
        assert len(warned) == table.bad + 1 and all(table.reason in line for line in warned)
        assert all(line.isprintable() for line in warned)


@pytest.mark.parametrize(
    "name", [table.name for table in bad_tables.tables() if table.verdict == ABSENT]
)
def test_an_absent_picture_stops_by_flag(run, tables, capsys, name):
    place, _ = tables
    words = ("--run=x", f"--data_dir={place}", f"--labels={place / name}", "--bad_pictures=stop")
    assert run_command(calibrate, *words) == 1
    assert "--bad_pictures=skip goes on" in capsys.readouterr().err


@pytest.mark.parametrize("name", [table.name for table in bad_tables.tables()])
def test_each_table_through_where(tables, name):
    place, known = tables
    if name not in known:
        pytest.skip("this file system cannot have it")
    where = {"where": "filename!=x.png", "where_table": place / name, "resolution": 8}
    try:
        found = sources.load_collection(place, **where, bad_rows="skip")
    except UserError as error:
        assert known[name].verdict == TABLE and name in str(error)
    else:
        assert len(found) >= bad_tables.PICTURES


def test_of_two_rows_for_a_picture_the_first_counts(tmp_path, caplog):
    path = tmp_path / "t.csv"
    path.write_text(f"{bad_tables.HEADER}\na.png,1,0,0\na.png,2,0,0\nb.png,x,0,0\nb.png,3,0,0\n")
    read = labels.read_labels(path, bad_rows="skip")
    assert {name: angles[0] for name, angles in read.items()} == {"a.png": 1}
    assert len(caplog.messages) == 4


# The commands themselves


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """(what training from the corpus's labels printed, the run); V alone is quick to compile."""
    place = tmp_path_factory.mktemp("runs") / "tiny"
    table = corpus[0] / "labels.csv"
    settings = {**tiny.NETWORKS, "steps": 2, "data": corpus[0], "run_dir": place}
    words = [f"--{name}={value}" for name, value in settings.items()]
    return _real("train", *words, "--supervised", f"--labels={table}", "--quiet"), place


def _alone(command: str, *words) -> subprocess.CompletedProcess:
    """Python as a terminal starts it, with its own encoding of file names and of what it prints."""
    return subprocess.run(
        [sys.executable, "-m", f"ssv_tf.{command}", *map(str, words)],
        capture_output=True, text=True, timeout=800, errors="strict", stdin=subprocess.DEVNULL,
    )  # fmt: skip


def _real(command: str, *words) -> forked.Done:
    return forked.run(f"ssv_tf.{command}", *words, timeout=800)


@pytest.mark.slow
def test_train_names_and_goes_on(trained, corpus):
    done, place = trained
    assert done.returncode == 0, done.stderr[-2000:]
    names = corpus[1]
    used = int(re.search(r"training on (\d+) pictures", done.stdout)[1])
    least = len(names["good"]) - 1  # a name with a backslash cannot be given in a table
    assert least <= used <= len(names["good"]) + len(names["either"])
    _check_named(done.stderr, corpus)
    assert (place / "models" / "analysis.keras").is_file()


@pytest.mark.slow
def test_train_stops_by_flag_before_it_makes_a_folder(corpus, tmp_path):
    done = _real(
        "train", f"--data={corpus[0]}", f"--run_dir={tmp_path / 'r'}", "--bad_pictures=stop"
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.search(r"^error: .*--bad_pictures=skip goes on", done.stderr, re.MULTILINE)
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_export_draws_its_pictures_from_the_corpus(trained, corpus, tmp_path, monkeypatch, caplog):
    words = (f"--run={trained[1]}", f"--data_dir={corpus[0]}", "--formats=fp32")
    everything = functools.partial(export.Settings.of, parity_pictures=700)
    monkeypatch.setattr(export.Settings, "of", everything)
    assert run_command(export, *words, f"--out={tmp_path / 'e'}") == 0
    assert (tmp_path / "e" / "model_fp32.tflite").is_file()
    _check_named("\n".join(caplog.messages), corpus)
    stopped = _real("export", *words, f"--out={tmp_path / 'f'}", "--bad_pictures=stop")
    assert stopped.returncode == 1 and "Traceback" not in stopped.stderr
    assert not (tmp_path / "f").exists()


@pytest.mark.slow
def test_predict_with_real_networks_and_a_narrow_terminal(trained, corpus, tmp_path):
    out = tmp_path / "angles.json"
    done = _real("predict", f"--run={trained[1]}", f"--out={out}", corpus[0])
    assert done.returncode == 0 and "Traceback" not in done.stderr
    _check_named(done.stderr, corpus)
    assert len(json.loads(out.read_text())) >= len(corpus[1]["good"])
    odd = Path(str(tmp_path) + "/caf\udce9.csv")
    plain = _alone("predict", f"--run={trained[1]}", f"--out={odd}", corpus[0] / "whole")
    assert plain.returncode == 0 and "Traceback" not in plain.stderr and odd.is_file()
