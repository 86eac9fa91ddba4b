"""The local server: statuses, REST forms, many clients with broken pictures."""

import base64
import http.client
import json
import os
import socket

import numpy as np
import pytest
import served
from in_process import run_command
from served import SIZE, encoded, pictures

from ssv_tf.export.serving import calls

pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api")

from tools import local_server, stress

pytestmark = pytest.mark.slow

PROTOCOLS = ("grpc", "rest")
# Nothing here waits for it: a machine under load may take its time.
PATIENT = calls.Patience(deadline_s=200.0, retries=10)


@pytest.fixture(scope="module")
def server():
    with local_server.LocalServer({"viewpoint": served.model()}) as running:
        yield running


def _host(server, protocol):
    return f"127.0.0.1:{getattr(server, f'{protocol}_port')}"


def _caller(server, protocol):
    kind = {"grpc": calls.GrpcCaller, "rest": calls.RestCaller}[protocol]
    return kind(_host(server, protocol), "viewpoint")


def _one_error(capsys):
    [line] = capsys.readouterr().err.splitlines()
    return line


def _post(server, body, path="/v1/models/viewpoint:predict", method="POST"):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=200)
    connection.request(method, path, body if isinstance(body, str) else json.dumps(body))
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer


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


def test_a_folder_that_is_not_for_serving(tmp_path, capsys):
    assert run_command(local_server, f"--serving={tmp_path / 'none'}") == 1
    assert "no such folder" in _one_error(capsys)
    assert run_command(local_server, f"--serving={tmp_path}") == 1
    assert "models.config" in _one_error(capsys)
    assert run_command(local_server) == 2
    assert "--serving" in _one_error(capsys)


def test_the_local_server_runs_as_a_command():
    with stress.started(served.exported()) as (ports, process):
        caller = calls.GrpcCaller(f"127.0.0.1:{ports['grpc']}", "viewpoint")
        content = encoded(pictures(1)[0])
        answer = calls.with_retries(caller, content, PATIENT)
        wanted = served.keras_degrees(pictures(1))
        np.testing.assert_allclose(answer["viewpoint_deg"], wanted, atol=0.01)
        assert stress.resident_mb(process) > 10
        caller.close()
