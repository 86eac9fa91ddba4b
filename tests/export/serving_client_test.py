"""The client: tables, retries, deadlines, mistakes."""

import csv
import io
import json
import os
import socket
import threading

import numpy as np
import pytest
import served
from in_process import run_command
from PIL import Image
from served import SIZE, encoded, pictures

from ssv_tf.base.errors import UserError
from ssv_tf.data import folder
from ssv_tf.export import client
from ssv_tf.export.serving import calls

pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api")

from tools import local_server

pytestmark = pytest.mark.slow

SCHEMES = {"grpc": "grpc://", "rest": ""}


@pytest.fixture(scope="module")
def server():
    with local_server.LocalServer({"viewpoint": served.model()}) as running:
        yield running


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three good pictures, one turned, one WebP, one cut off, one text."""
    place = tmp_path_factory.mktemp("photos")
    for i, picture in enumerate(pictures(3, 40, 60)):
        (place / f"{i}.jpg").write_bytes(encoded(picture, "JPEG", quality=95))
    turned = Image.Exif()
    turned[0x0112] = 6
    upright = pictures(1, 60, 40, seed=5)[0]
    (place / "3_turned.jpg").write_bytes(encoded(upright, "JPEG", quality=95, exif=turned))
    (place / "4.webp").write_bytes(encoded(upright, "WEBP", quality=95))
    good = (place / "0.jpg").read_bytes()
    (place / "5_cut.jpg").write_bytes(good[: len(good) // 2])
    (place / "6_text.jpg").write_text("hello")
    return place


def _host(server, protocol):
    return f"{SCHEMES[protocol]}127.0.0.1:{getattr(server, f'{protocol}_port')}"


def _client(server, protocol, *words):
    return run_command(client, f"--host={_host(server, protocol)}", "--deadline_s=200", *words)


@pytest.mark.parametrize("protocol", SCHEMES)
def test_a_table_of_good_pictures_and_a_line_for_each_bad_one(server, photos, capsys, protocol):
    assert _client(server, protocol, photos, "missing.jpg") == 0
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(out)))
    names = [os.path.basename(row["filename"]) for row in rows]
    assert names == ["0.jpg", "1.jpg", "2.jpg", "3_turned.jpg", "4.webp"]
    fitted = [folder.fit_square(folder.read_picture(photos / n), SIZE) for n in names]
    wanted = served.keras_degrees(np.stack(fitted))
    given = np.array([[float(row[c]) for c in client.COLUMNS[1:]] for row in rows])
    assert np.abs((given - wanted + 180) % 360 - 180).max() < 1.0
    lines = err.splitlines()
    assert len(lines) == 4, err
    assert "missing.jpg: no such file" in lines[0]
    assert "5_cut.jpg: refused by the server: " in lines[1]
    assert "6_text.jpg: not a JPEG" in lines[2]
    assert lines[3] == "3 skipped, 5 answered"


def test_both_protocols_answer_alike_as_json(server, photos, tmp_path):
    tables = []
    for protocol in SCHEMES:
        out = tmp_path / f"{protocol}.json"
        assert _client(server, protocol, f"--out={out}", *sorted(photos.glob("?.jpg"))) == 0
        tables.append(json.loads(out.read_text()))
    assert tables[0] == tables[1] and len(tables[0]) == 3
    assert {type(row["azimuth_deg"]) for row in tables[0]} == {float}


class _Flaky:
    def __init__(self, *outcomes):
        self.outcomes, self.timeouts = list(outcomes), []

    def __call__(self, content, timeout_s):
        self.timeouts.append(timeout_s)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class _Clock:
    """Time that passes only while one waits."""

    def __init__(self):
        self.now, self.waits = 0.0, []

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


def _busy():
    return calls.CallError("UNAVAILABLE", "queue is full")


def test_a_busy_server_is_asked_again_after_growing_waits():
    clock, call = _Clock(), _Flaky(_busy(), _busy(), _busy(), {"ok": 1})
    patience = calls.Patience(10.0, 4)
    assert calls.with_retries(call, b"", patience, clock.wait, clock) == {"ok": 1}
    for wait, longest in zip(clock.waits, (0.1, 0.2, 0.4), strict=True):
        assert longest / 2 <= wait <= longest
    assert call.timeouts[0] == 10.0
    assert call.timeouts[-1] == pytest.approx(10.0 - sum(clock.waits))


def test_retries_end_by_number_and_by_deadline():
    for patience, attempts in ((calls.Patience(100.0, 2), 3), (calls.Patience(0.04, 9), 1)):
        clock, call = _Clock(), _Flaky(*[_busy()] * 10)
        with pytest.raises(calls.CallError, match="queue is full"):
            calls.with_retries(call, b"", patience, clock.wait, clock)
        assert len(call.timeouts) == attempts
        assert clock.now <= patience.deadline_s


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "NOT_FOUND", "DEADLINE_EXCEEDED"])
def test_what_will_not_pass_is_not_tried_again(code):
    clock, call = _Clock(), _Flaky(calls.CallError(code, "no"), {"ok": 1})
    with pytest.raises(calls.CallError, match=code):
        calls.with_retries(call, b"", calls.Patience(), clock.wait, clock)
    assert len(call.timeouts) == 1


@pytest.fixture
def silent_server():
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def babbling_server():
    """Answers in another language."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"220 mail.example ready\r\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def _one_error(capsys):
    [line] = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("protocol", SCHEMES)
def test_a_server_that_does_not_answer(silent_server, photos, tmp_path, capsys, protocol):
    out = tmp_path / "table.csv"
    flags = [f"--host={SCHEMES[protocol]}127.0.0.1:{silent_server}", "--deadline_s=0.5"]
    assert run_command(client, *flags, f"--out={out}", photos / "0.jpg") == 1
    assert "127.0.0.1" in _one_error(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("protocol", SCHEMES)
def test_no_server_and_a_foreign_one(babbling_server, photos, capsys, protocol):
    for port in (babbling_server, 1):
        flags = [f"--host={SCHEMES[protocol]}127.0.0.1:{port}", "--deadline_s=100"]
        assert run_command(client, *flags, photos / "0.jpg") == 1
        assert "no server answers, after 4 retries" in _one_error(capsys)


@pytest.mark.parametrize("protocol", SCHEMES)
def test_a_model_that_is_not_served(server, photos, capsys, protocol):
    assert _client(server, protocol, "--model=other", photos / "0.jpg") == 1
    assert "Servable not found for request: Latest(other)" in _one_error(capsys)


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("a", (calls.RestCaller, "a:8501", False)),
        ("a-b.example:80", (calls.RestCaller, "a-b.example:80", False)),
        ("http://a:1", (calls.RestCaller, "a:1", False)),
        ("https://a", (calls.RestCaller, "a:8501", True)),
        ("HTTPS://a:443/", (calls.RestCaller, "a:443", True)),
        ("grpc://a", (calls.GrpcCaller, "a:8500", False)),
        ("grpcs://[::1]:9", (calls.GrpcCaller, "[::1]:9", True)),
    ],
)
def test_the_url_says_protocol_and_tls(url, wanted):
    assert client.server_of(url) == wanted


def test_https_speaks_tls_to_a_server_that_does_not(babbling_server, photos, capsys):
    words = f"--host=https://127.0.0.1:{babbling_server}", photos / "0.jpg"
    assert run_command(client, *words) == 1
    assert "UNAUTHENTICATED" in _one_error(capsys)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["a.jpg"], 2, "--host=HOST:PORT is missing"),
        (["--host=ftp://a:21", "a.jpg"], 2, "ftp:// is none of grpc://, grpcs://, http://, https"),
        (["--host=://a", "a.jpg"], 2, "--host=://a: :// is none of"),
        (["--host=http://a:8501/v1/models", "a.jpg"], 2, "without a path"),
        (["--host=http://a?b", "a.jpg"], 2, "write HOST, HOST:PORT or SCHEME://HOST:PORT"),
        (["--host=me:secret@a:8501", "a.jpg"], 2, "write HOST"),
        (["--host=grpc://", "a.jpg"], 2, "--host=grpc://: write HOST"),
        (["--host=grpc://:8500", "a.jpg"], 2, "write HOST"),
        (["--host=grpc:a", "a.jpg"], 2, "write HOST"),
        (["--host=localhost:99999", "a.jpg"], 2, "--host=localhost:99999: write HOST"),
        (["--host=https://localhost:0", "a.jpg"], 2, "--host=https://localhost:0: write HOST"),
        (["--host=localhost", "--grpc", "a.jpg"], 2, "Unknown command line flag 'grpc'"),
        (["--host=localhost"], 2, "at least one picture"),
        (["--host=localhost", "--out=a.txt", "a.jpg"], 2, ".csv or .json"),
        (["--host=localhost", "--model=a/b", "a.jpg"], 2, "--model"),
        (["--host=localhost", "--concurrency=0", "a.jpg"], 2, "concurrency"),
    ],
)
def test_mistakes_on_the_command_line(capsys, words, code, said):
    assert run_command(client, *words) == code
    assert said in _one_error(capsys)


def test_an_unwritable_table_and_one_that_exists(server, photos, tmp_path, capsys):
    assert _client(server, "rest", "--out=/proc/none/a.csv", photos / "0.jpg") == 1
    assert "cannot write /proc/none/a.csv" in _one_error(capsys)
    (tmp_path / "a.csv").write_text("kept")
    assert _client(server, "rest", f"--out={tmp_path / 'a.csv'}", photos / "0.jpg") == 2
    assert (tmp_path / "a.csv").read_text() == "kept"


def test_nothing_but_broken_pictures_is_an_error(server, photos, capsys):
    assert _client(server, "grpc", photos / "5_cut.jpg") == 1
    assert "none of the 1 pictures could be answered" in capsys.readouterr().err


def test_confidence_and_novelty_are_columns_where_the_server_tells_them():
    degrees = [[1.0, 2.0, 3.0]]
    further = {"confidence": [[0.875]], "novelty": [[1.25]]}
    told = calls.viewpoint_of({"viewpoint_deg": degrees} | further)
    assert told == ([1.0, 2.0, 3.0], {"confidence": 0.875, "novelty": 1.25})
    assert calls.viewpoint_of({"viewpoint_deg": degrees[0]}) == ([1.0, 2.0, 3.0], {})
    row = client._row("a.jpg", *told)
    assert row == dict(zip(client.COLUMNS, ("a.jpg", 1.0, 2.0, 3.0), strict=True)) | {
        "confidence": 0.875, "novelty": 1.25
    }  # fmt: skip


@pytest.mark.parametrize(
    "answer",
    [{}, {"viewpoint_deg": [1.0, 2.0]}, {"viewpoint_deg": [1, 2, float("nan")]},
     {"viewpoint_deg": "abc"}, {"viewpoint_deg": [1, 2, 3], "confidence": []}],
)  # fmt: skip
def test_an_answer_of_another_model_is_refused(answer):
    with pytest.raises(UserError, match="no viewpoint"):
        calls.viewpoint_of(answer)
