"""Random tables, conditions, flags and settings: an answer that makes sense, or one clear line."""

import dataclasses
import importlib
import io
import json
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pytest
from absl import flags
from hypothesis import example, given, settings
from hypothesis import strategies as st
from in_process import run_command
from predictions import own_angles

from ssv_tf import calibrate, config, evaluate, predict, synthesize
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import labels
from ssv_tf.evaluation import calibration
from ssv_tf.export import __main__ as export

train = importlib.import_module("ssv_tf.train")  # `ssv_tf.train` itself is the function

SHORT = settings(max_examples=150, deadline=None, derandomize=True, database=None)
FEW = settings(SHORT, max_examples=40)

ODD = st.sampled_from(
    ["", " ", "nan", "inf", "-inf", "1e999", "1_0", "\u0661", "0x1", "-0", "+.5e1", "9" * 5000,
     "\0", "\r", "\n", "\ufeff", '"', "'", ",", ";", "\t", "=", "==", "!=", "%", "\x1b[0m",
     "\u2028", "\ud800", "../..", "a.png", "b/a.png", "b\\a.png", "./a.png", "filename", "suspect"]
)  # fmt: skip
TEXT = st.one_of(ODD, st.text(max_size=12), st.floats().map(repr), st.integers().map(str))
CELL = st.one_of(st.floats(-400, 400).map(repr), TEXT)
COLUMNS = ["filename", "azimuth_deg", "elevation_deg", "tilt_deg", "suspect", "class_id", "note"]


@st.composite
def tables(draw) -> bytes:
    """Bytes that are often nearly a table."""
    header = draw(st.permutations(COLUMNS))[: draw(st.integers(5, 7))]
    if draw(st.booleans()):
        header = COLUMNS[:4]
    lines = [",".join(header)]
    for number in range(draw(st.integers(0, 5))):
        good = [f"{number}.png", "10", "20", "3", "0", "1", ""]
        for place in draw(st.lists(st.integers(0, 6), max_size=2)):
            good[place] = draw(CELL)
        row = [good[COLUMNS.index(name)] for name in header]
        lines.append(",".join(row[: draw(st.sampled_from([7, 7, 7, 3]))]))
    text = draw(st.sampled_from(["\n", "\r\n", "\r"])).join(lines)
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    content = bytearray(text.encode(encoding, "replace"))
    for _ in range(draw(st.integers(0, 2))):
        if content:
            content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content)


def _read(path, policy):
    try:
        return labels.read_labels(path, bad_rows=policy)
    except UserError as error:
        assert str(path) in str(error) and len(str(error)) < 10_000
        return None


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("tables") / "labels.csv"


@pytest.mark.slow
@given(content=st.one_of(tables(), st.binary(max_size=200)))
@example(content=b"filename,azimuth_deg,elevation_deg,tilt_deg\na,1_0,2,3\n")
@example(content="filename,azimuth_deg,elevation_deg,tilt_deg\na,\u0661,2,3\n".encode())
@example(content=b"filename,azimuth_deg,tilt_deg,elevation_deg,tilt_deg\na,1,2,3,4\n")
@SHORT
def test_any_table_gives_angles_in_range_or_one_clear_error(path, content):
    path.write_bytes(content)
    strict, lenient = _read(path, "stop"), _read(path, "skip")
    if strict is not None:
        assert lenient is not None and list(lenient) == list(strict)
    for name, angles in (lenient or {}).items():
        assert name and angles.shape == (3,) and angles.dtype == np.float32
        known = ~np.isnan(angles)
        assert known.any() and (np.abs(angles) <= (180, 90, 180))[known].all()


@given(st.one_of(TEXT, st.lists(TEXT, max_size=6).map("".join)), TEXT)
@example("a%" + "9" * 5000 + "==1", "1")
@example("a%3==" + "1" * 5000, "1")
@example("name==nan", "nan")
@example("n%3==\u0661", "4")
@SHORT
def test_any_condition_is_read_or_refused_and_decides_any_cell(text, cell):
    try:
        condition = labels.parse_condition(text)
    except SettingError as error:
        assert "condition" in str(error)
        return
    opposite = dataclasses.replace(condition, equal=not condition.equal)
    try:
        assert condition.holds(cell) != opposite.holds(cell)
    except ValueError:
        assert condition.modulus is not None, "only a remainder needs a whole number"
    if condition.modulus is None:
        assert condition.holds(condition.value) == condition.equal


# Flags and settings

NAMES = list(config.SETTINGS)
WORD = st.one_of(
    st.tuples(st.sampled_from(NAMES), TEXT).map("=".join).map("--{}".format),
    st.sampled_from(NAMES).map("--no{}".format),
    TEXT.map("--{}".format),
    TEXT,
)
SETTING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), TEXT, st.lists(st.integers(), max_size=2),
    st.sampled_from([10**400, -(10**400), {"a": 1}, "composite", 32]),
)  # fmt: skip


@given(st.lists(WORD, max_size=4))
@example([f"--steps={'9' * 5000}"])
@SHORT
def test_any_flags_are_settings_or_one_clear_error(words):
    values = flags.FlagValues()
    config.define_flags(values)
    try:
        values(["train", *words])
        options = config.from_flags(values)
    except (flags.Error, SettingError) as error:
        assert str(error)
        return
    except RecursionError:  # absl's, of a very long unknown flag; the command makes it one line
        assert run_command(train, *words) == 2
        return
    assert config.from_json(options.to_json()) == options


@given(st.one_of(
    st.dictionaries(st.sampled_from(NAMES), SETTING, max_size=4).map(json.dumps),
    st.text(max_size=40),
    st.sampled_from(["[" * 100_000, '{"a":' * 100_000, "1" * 5000, "null", "[]", '{"a": NaN}']),
))  # fmt: skip
@SHORT
def test_any_options_file_is_read_or_refused(text):
    try:
        options = config.from_json(text, "RUN/options.json")
    except UserError as error:
        assert str(error).startswith("RUN/options.json") and len(str(error)) < 10_000
        return
    assert config.from_json(options.to_json()) == options


CALIBRATION = json.loads(calibration.Calibration.identity().to_json())


@given(st.one_of(
    st.sampled_from(["[" * 100_000, "1" * 5000, "null", "[]", "{}"]),
    st.tuples(
        st.sampled_from(["azimuth", "elevation", "tilt", None]),
        st.sampled_from([*CALIBRATION["azimuth"], *CALIBRATION]),
        SETTING,
    ),
))  # fmt: skip
@SHORT
def test_any_calibration_is_read_or_refused(case):
    text = case
    if isinstance(case, tuple):
        angle, name, value = case
        data = json.loads(json.dumps(CALIBRATION))
        (data[angle] if angle else data)[name] = value
        text = json.dumps(data)
    try:
        fitted = calibration.Calibration.from_json(text, "RUN/calibration.json")
    except UserError as error:
        assert "RUN/calibration.json" in str(error)
        return
    assert np.isfinite(calibration.calibrated(own_angles(np.zeros((2, 7))), fitted)).all()


def _flag_names(module) -> list[str]:
    kept = set(flags.FLAGS)
    module.define_flags()
    found = sorted(set(flags.FLAGS) - kept)
    for name in found:
        delattr(flags.FLAGS, name)
    return found


@pytest.mark.parametrize("module", [calibrate, evaluate, predict, synthesize, export, train])
def test_any_words_end_a_command_with_one_line(module, tmp_path_factory, monkeypatch):
    place = tmp_path_factory.mktemp("words")
    monkeypatch.chdir(place)
    # What is certain to end it: there is no such run and there are no such pictures.
    sure = ["--data=absent"] if module is train else ["--run=absent", "--preset="]
    names = [name for name in _flag_names(module) if name not in ("run", "preset", "data")]
    word = st.one_of(
        st.tuples(st.sampled_from(names), TEXT).map("=".join).map("--{}".format),
        st.tuples(st.just("flagfile"), TEXT).map("=".join).map("--{}".format),
        TEXT.filter(lambda text: not text.startswith("-")),
    )

    @given(st.lists(word, max_size=3))
    @example(["x" * 300])
    @example([f"--{'run_dir' if module is train else 'out'}={'x' * 300}"])
    @example(["--flagfile=binary"])
    @example(["--flagfile=long"])
    @example(["--flagfile=nul"])
    @FEW
    def end(words):
        (place / "binary").write_bytes(b"--run=\xff\xfe\0\n")
        (place / "nul").write_bytes(b"--out=a\0b\n")
        (place / "long").write_text(f"--seed={'9' * 5000}\n--{'x' * 100_000}\n")
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = run_command(module, *words, *sure)
        lines = [line for line in err.getvalue().split("\n") if line.startswith("error: ")]
        assert code in (1, 2), (code, words)
        assert len(lines) == 1 and len(lines[0]) < 2100, err.getvalue()[-2000:]
        assert lines[0].isprintable()

    end()
