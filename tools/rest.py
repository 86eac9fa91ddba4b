"""The REST form of Predict and of a model's status, as TensorFlow's model server has it."""

import base64
import binascii
import json
import re
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from ssv_tf.export.serving.model import (
    DEFAULT_SIGNATURE,
    RequestError,
    ServedModel,
    Signature,
    find_model,
)

# gRPC status -> HTTP status, as the model server maps them.
_HTTP = {3: 400, 4: 504, 5: 404, 8: 429, 9: 400, 11: 400, 12: 501, 14: 503}
_PATH = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+))?(:predict|/metadata)?")
_IDLE_S = 60


def make_server(
    models: dict[str, ServedModel], host: str, port: int, max_bytes: int
) -> ThreadingHTTPServer:
    """A ThreadingHTTPServer over `models`, not yet serving; bodies are bounded by `max_bytes`."""
    handler = type("Handler", (_Handler,), {"models": models, "max_bytes": max_bytes})
    return _Server((host, port), handler)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that left is no fault
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S
    models: dict[str, ServedModel]
    max_bytes: int

    def do_GET(self) -> None:
        self._answer(self._describe)

    def do_POST(self) -> None:
        self._answer(self._predict)

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, work: Callable[[], dict]) -> None:
        try:
            status, answer = 200, work()
        except RequestError as error:
            status, answer = _HTTP.get(error.code, 500), {"error": error.message}
        except Exception as error:  # a fault of the server's own must not end the connection
            status, answer = 500, {"error": f"{type(error).__name__}: {error}"}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _find(self, *kinds: str | None) -> ServedModel:
        match = _PATH.fullmatch(self.path)
        if match is None or match[3] not in kinds:
            raise RequestError(3, f"Malformed request: {self.command} {self.path}")
        return find_model(self.models, match[1], int(match[2]) if match[2] else None)

    def _describe(self):
        model = self._find(None, "/metadata")
        if self.path.endswith("/metadata"):
            return {
                "model_spec": {"name": model.name, "version": str(model.version)},
                "metadata": {"signature_def": {"signature_def": _described(model)}},
            }
        state = {"version": str(model.version), "state": "AVAILABLE"}
        ok = {"error_code": "OK", "error_message": ""}
        return {"model_version_status": [state | {"status": ok}]}

    def _predict(self):
        body = self._body()  # read whatever the path, or the next request would begin in it
        return answer(self._find(":predict"), body)

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > self.max_bytes:
            self.close_connection = True
            raise RequestError(3, f"Content-Length is a number up to {self.max_bytes}")
        return self.rfile.read(int(length))


def answer(model: ServedModel, body: bytes) -> dict:
    """The JSON answer to the JSON body of a predict request.

    Raises:
      RequestError: INVALID_ARGUMENT where the body is not what the signature takes.
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(3, f"JSON Parse error: {error}") from None
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise RequestError(3, "Request has neither or both of 'instances' and 'inputs'")
    name = request.get("signature_name", DEFAULT_SIGNATURE)
    signature = model.signatures.get(name) if isinstance(name, str) else None
    if signature is None:
        raise RequestError(9, f'Serving signature key "{name}" not found.')
    by_row = "instances" in request
    columns = (_columns if by_row else _inputs)(
        request["instances" if by_row else "inputs"], signature
    )
    inputs = {key: _array(columns[key], end[1]) for key, end in signature.inputs.items()}
    outputs = {key: value.tolist() for key, value in model.predict(inputs, name).items()}
    if not by_row:
        return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}
    rows = [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
    if len(outputs) == 1:
        return {"predictions": next(iter(outputs.values()))}
    return {"predictions": rows}


def _columns(instances: Any, signature: Signature) -> dict:
    """Row format: a list of values, or of objects with a value for each input."""
    if not isinstance(instances, list) or not instances:
        raise RequestError(3, "'instances' is a list with at least one entry")
    names = set(signature.inputs)
    if all(isinstance(i, dict) and set(i) == names for i in instances):
        return {name: [instance[name] for instance in instances] for name in names}
    if len(names) == 1:
        return {names.pop(): instances}
    raise RequestError(3, f"each instance needs {sorted(names)}")


def _inputs(inputs: Any, signature: Signature) -> dict:
    names = set(signature.inputs)
    if isinstance(inputs, dict) and set(inputs) == names:
        return inputs
    if len(names) == 1 and not (isinstance(inputs, dict) and set(inputs) != {"b64"}):
        return {names.pop(): inputs}
    raise RequestError(3, f"'inputs' needs {sorted(names)}")


def _array(value: Any, kind: type) -> np.ndarray:
    if kind is object:
        leaves = value if isinstance(value, list) else [value]
        array = np.array([_bytes(leaf) for leaf in leaves], object)
        return array if isinstance(value, list) else array[0]
    try:
        array = np.array(value)
        if array.dtype.kind not in "iuf":
            raise ValueError("not all numbers")
        return array.astype(kind)
    except (TypeError, ValueError) as error:
        raise RequestError(3, f"not a tensor: {error}") from None


def _bytes(leaf: Any) -> bytes:
    if isinstance(leaf, str):
        return leaf.encode()
    if not (isinstance(leaf, dict) and list(leaf) == ["b64"] and isinstance(leaf["b64"], str)):
        raise RequestError(3, 'a value is a string or {"b64": "..."}')
    try:
        return base64.b64decode(leaf["b64"], validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(3, "Unable to base64 decode") from None


def _described(model: ServedModel) -> dict:
    def ends(side):
        return {
            name: {"dtype": np.dtype(kind).name, "shape": [-1 if d is None else d for d in shape]}
            for name, (_, kind, shape) in side.items()
        }

    return {
        name: {"inputs": ends(signature.inputs), "outputs": ends(signature.outputs)}
        for name, signature in model.signatures.items()
    }
