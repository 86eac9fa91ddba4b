"""The client and the local server: answers, refusals, retries, deadlines, tables."""

import base64
import csv
import http.client
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

from ssv_tf.data import folder
from ssv_tf.errors import UserError
from ssv_tf.export import client
from ssv_tf.export.serving import calls

pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api")

from ssv_tf.export.serving import local_server, stress

PROTOCOLS = ("grpc", "rest")
# Nothing here waits for it: a machine under load may take its time.
PATIENT = calls.Patience(deadline_s=200.0, retries=10)


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
    return f"127.0.0.1:{getattr(server, f'{protocol}_port')}"


def _caller(server, protocol, model="viewpoint"):
    kind = {"grpc": calls.GrpcCaller, "rest": calls.RestCaller}[protocol]
    return kind(_host(server, protocol), model)


def _client(server, protocol, *words):
    flags = [f"--host={_host(server, protocol)}", f"--{protocol}", "--deadline_s=200"]
    return run_command(client, *flags, *words)


def _post(server, body, path="/v1/models/viewpoint:predict", method="POST"):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=200)
    connection.request(method, path, body if isinstance(body, str) else json.dumps(body))
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer


@pytest.mark.parametrize("protocol", PROTOCOLS)
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
    for protocol in PROTOCOLS:
        out = tmp_path / f"{protocol}.json"
        assert _client(server, protocol, f"--out={out}", *sorted(photos.glob("?.jpg"))) == 0
        tables.append(json.loads(out.read_text()))
    assert tables[0] == tables[1] and len(tables[0]) == 3
    assert {type(row["azimuth_deg"]) for row in tables[0]} == {float}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_many_clients_with_broken_pictures_get_their_own_answers(server, protocol):
    caller, memory = _caller(server, protocol), os.getpid()
    figures = stress.run_load(caller, 640, 32, 0.2, memory, PATIENT)
    assert figures["wrong"] == 0, figures
    assert figures["right"] + figures["refused"] == 640
    assert figures["refused"] > 60
    # Fitted pictures and decoded ones of these requests would be over 150 MB.
    assert figures["memory_end_mb"] < figures["memory_start_mb"] + 60, figures


def test_the_stress_test_notices_wrong_answers(server):
    count = iter(range(10**6))

    def unsound(content, timeout_s):
        answer = _caller_once(content, timeout_s)
        off = 5.0 if next(count) > 40 else 0.0
        return answer | {"viewpoint_deg": [a + off for a in np.ravel(answer["viewpoint_deg"])]}

    _caller_once = _caller(server, "rest")
    figures = stress.run_load(unsound, 40, 4, 0.2, None, PATIENT)
    assert figures["wrong"] > 10 and "alone" in figures["first_wrong"]


def test_the_local_server_listens_on_this_machine_only(server):
    for port in (server.grpc_port, server.rest_port):
        with pytest.raises(OSError), socket.create_server(("127.0.0.1", port)):
            pass  # taken there
        with socket.create_server(("127.0.0.2", port)):
            pass  # and free elsewhere


@pytest.mark.parametrize(
    ("model", "signature", "inputs", "code"),
    [
        ("other", "", {}, "NOT_FOUND"),
        ("viewpoint", "none", {}, "FAILED_PRECONDITION"),
        ("viewpoint", "", {}, "INVALID_ARGUMENT"),
        ("viewpoint", "", {"picture": np.zeros((1, 8, 8, 3), np.float32)}, "INVALID_ARGUMENT"),
        ("viewpoint", "", {"picture": np.zeros((1, SIZE, SIZE, 3))}, "INVALID_ARGUMENT"),
        ("viewpoint", "", {"picture": np.array([b"text"], object)}, "INVALID_ARGUMENT"),
    ],
)
def test_grpc_statuses(server, model, signature, inputs, code):
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    with grpc.insecure_channel(_host(server, "grpc")) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(request, timeout=200)
    assert caught.value.code().name == code


def test_grpc_metadata_status_and_filter(server):
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )

    with grpc.insecure_channel(_host(server, "grpc")) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = "viewpoint"
        packed = stub.GetModelMetadata(request, timeout=200).metadata["signature_def"]
        found = get_model_metadata_pb2.SignatureDefMap()
        assert packed.Unpack(found)
        assert {"serving_default", "serving_jpeg"} <= set(found.signature_def)
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = "viewpoint"
        stub_status = model_service_pb2_grpc.ModelServiceStub(channel)
        [version] = stub_status.GetModelStatus(status, timeout=200).model_version_status
        assert (version.version, version.state) == (1, version.AVAILABLE)
        asked = predict_pb2.PredictRequest(output_filter=["tilt_deg"])
        asked.model_spec.name = "viewpoint"
        picture = pictures(1).astype(np.float32)
        asked.inputs["picture"].CopyFrom(tf.make_tensor_proto(picture))
        assert list(stub.Predict(asked, timeout=200).outputs) == ["tilt_deg"]


def test_rest_forms(server):
    picture = pictures(2)
    wanted = served.keras_degrees(picture)
    rows = [{"b64": base64.b64encode(encoded(p)).decode()} for p in picture]
    jpeg = {"signature_name": "serving_jpeg"}
    status, by_row = _post(server, jpeg | {"instances": rows})
    assert status == 200
    given = [row["viewpoint_deg"] for row in by_row["predictions"]]
    np.testing.assert_allclose(given, wanted, atol=0.01)
    named = [{"jpeg_bytes": row} for row in rows]
    assert _post(server, jpeg | {"instances": named}) == (200, by_row)
    status, columns = _post(server, {"inputs": {"picture": picture.tolist()}})
    assert status == 200
    np.testing.assert_allclose(columns["outputs"]["viewpoint_deg"], wanted, atol=0.01)
    status, state = _post(server, "", "/v1/models/viewpoint", "GET")
    assert state["model_version_status"][0]["state"] == "AVAILABLE"
    status, metadata = _post(server, "", "/v1/models/viewpoint/versions/1/metadata", "GET")
    assert status == 200 and metadata["model_spec"]["version"] == "1"


_BAD = {"b64": base64.b64encode(b"\xff\xd8\xff broken").decode()}


@pytest.mark.parametrize(
    ("body", "path", "status"),
    [
        ({"instances": [[1.0]]}, "/v1/models/other:predict", 404),
        ({"instances": [[1.0]]}, "/v1/models/viewpoint/versions/7:predict", 404),
        ({"instances": [[1.0]]}, "/v1/models/viewpoint:regress", 400),
        ("{not json", "/v1/models/viewpoint:predict", 400),
        ([], "/v1/models/viewpoint:predict", 400),
        ({}, "/v1/models/viewpoint:predict", 400),
        ({"instances": []}, "/v1/models/viewpoint:predict", 400),
        ({"instances": [[[1], [1, 2]]]}, "/v1/models/viewpoint:predict", 400),
        ({"instances": ["text"]}, "/v1/models/viewpoint:predict", 400),
        ({"instances": [1], "signature_name": "none"}, "/v1/models/viewpoint:predict", 400),
        ({"instances": [{"b64": "!"}], "signature_name": "serving_jpeg"}, None, 400),
        ({"instances": [_BAD], "signature_name": "serving_jpeg"}, None, 400),
        ({"instances": [5], "signature_name": "serving_jpeg"}, None, 400),
        ({"inputs": {"picture": [1], "other": [1]}}, None, 400),
    ],
)
def test_rest_mistakes(server, body, path, status):
    found, answer = _post(server, body, path or "/v1/models/viewpoint:predict")
    assert found == status and list(answer) == ["error"] and answer["error"]


def test_a_body_without_end_is_not_read(server):
    with socket.create_connection(("127.0.0.1", server.rest_port), timeout=200) as connection:
        head = f"Content-Length: {local_server.MAX_REQUEST_BYTES + 1}"
        connection.sendall(f"POST /v1/models/viewpoint:predict HTTP/1.1\r\n{head}\r\n\r\n".encode())
        assert connection.makefile().readline().startswith("HTTP/1.1 400")


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


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_that_does_not_answer(silent_server, photos, tmp_path, capsys, protocol):
    out = tmp_path / "table.csv"
    flags = [f"--host=127.0.0.1:{silent_server}", f"--{protocol}", "--deadline_s=0.5"]
    assert run_command(client, *flags, f"--out={out}", photos / "0.jpg") == 1
    assert "127.0.0.1" in _one_error(capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_server_and_a_foreign_one(babbling_server, photos, capsys, protocol):
    for port in (babbling_server, 1):
        flags = [f"--host=127.0.0.1:{port}", f"--{protocol}", "--retries=1", "--deadline_s=100"]
        assert run_command(client, *flags, photos / "0.jpg") == 1
        assert "no server answers, after 1 retries" in _one_error(capsys)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_model_that_is_not_served(server, photos, capsys, protocol):
    assert _client(server, protocol, "--model=other", photos / "0.jpg") == 1
    assert "Servable not found for request: Latest(other)" in _one_error(capsys)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--host=localhost", "a.jpg"], 2, "--grpc or --rest"),
        (["--host=localhost", "--grpc", "--rest", "a.jpg"], 2, "--grpc or --rest"),
        (["--grpc", "a.jpg"], 2, "--host"),
        (["--host=http://localhost:8501", "--rest", "a.jpg"], 2, "without http://"),
        (["--host=localhost:99999", "--rest", "a.jpg"], 2, "--host"),
        (["--host=localhost", "--rest"], 2, "at least one picture"),
        (["--host=localhost", "--rest", "--out=a.txt", "a.jpg"], 2, ".csv or .json"),
        (["--host=localhost", "--rest", "--model=a/b", "a.jpg"], 2, "--model"),
        (["--host=localhost", "--rest", "--concurrency=0", "a.jpg"], 2, "concurrency"),
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


def test_confidence_is_a_column_where_the_server_tells_one():
    degrees = [[1.0, 2.0, 3.0]]
    told = calls.viewpoint_of({"viewpoint_deg": degrees, "confidence": [[0.875]]})
    assert told == ([1.0, 2.0, 3.0], 0.875)
    assert calls.viewpoint_of({"viewpoint_deg": degrees[0]}) == ([1.0, 2.0, 3.0], None)
    row = client._row("a.jpg", *told)
    assert row == dict(zip(client.COLUMNS, ("a.jpg", 1.0, 2.0, 3.0), strict=True)) | {
        "confidence": 0.875
    }


@pytest.mark.parametrize(
    "answer",
    [{}, {"viewpoint_deg": [1.0, 2.0]}, {"viewpoint_deg": [1, 2, float("nan")]},
     {"viewpoint_deg": "abc"}, {"viewpoint_deg": [1, 2, 3], "confidence": []}],
)  # fmt: skip
def test_an_answer_of_another_model_is_refused(answer):
    with pytest.raises(UserError, match="no viewpoint"):
        calls.viewpoint_of(answer)


def test_a_folder_that_is_not_for_serving(tmp_path, capsys):
    assert run_command(local_server, f"--serving={tmp_path / 'none'}") == 1
    assert "no such folder" in _one_error(capsys)
    assert run_command(local_server, f"--serving={tmp_path}") == 1
    assert "models.config" in _one_error(capsys)
    assert run_command(local_server) == 2
    assert "--serving" in _one_error(capsys)


@pytest.mark.slow
def test_the_local_server_runs_as_a_command():
    with stress.started(served.exported()) as (ports, process):
        caller = calls.GrpcCaller(f"127.0.0.1:{ports['grpc']}", "viewpoint")
        content = encoded(pictures(1)[0])
        answer = calls.with_retries(caller, content, PATIENT)
        wanted = served.keras_degrees(pictures(1))
        np.testing.assert_allclose(answer["viewpoint_deg"], wanted, atol=0.01)
        assert stress.resident_mb(process) > 10
        caller.close()
