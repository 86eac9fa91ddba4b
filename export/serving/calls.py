"""Calls to a model server, gRPC or REST: one picture a call, with a deadline and retries."""

import base64
import contextlib
import dataclasses
import http.client
import json
import math
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from ssv_tf.base.errors import UserError
from ssv_tf.export.serving.names import FURTHER, JPEG_INPUT, JPEG_SIGNATURE, OUTPUT

INVALID_ARGUMENT = "INVALID_ARGUMENT"
# What a moment later may well succeed.
RETRIED = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED"})
_BY_HTTP = {
    400: INVALID_ARGUMENT, 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    409: "ABORTED", 413: INVALID_ARGUMENT, 429: "RESOURCE_EXHAUSTED", 499: "CANCELLED",
    501: "UNIMPLEMENTED", 502: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
_MAX_ANSWER_BYTES = 1 << 20


class CallError(Exception):
    """A call without an answer.

    Attributes:
      code: name of the gRPC status.
      message: why, on one line.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = " ".join(message.split())[:300]


class Caller(Protocol):
    """One attempt at one picture."""

    def __call__(self, content: bytes, timeout_s: float) -> dict[str, list]: ...


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long and how often.

    Attributes:
      deadline_s: seconds for one picture, its retries and waits included.
      retries: attempts after the first.
      first_wait_s: longest wait before the first retry; doubles each time, up to `longest_wait_s`.
      longest_wait_s: see there.
    """

    deadline_s: float = 10.0
    retries: int = 4
    first_wait_s: float = 0.1
    longest_wait_s: float = 2.0


def with_retries(
    call: Caller,
    content: bytes,
    patience: Patience,
    wait: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, list]:
    """The answer to one picture, tried again after a refusal that may pass.

    Waits are random up to a bound that doubles, so that clients refused together do not come back
    together.

    Raises:
      CallError: of the last attempt, or DEADLINE_EXCEEDED.
    """
    end = clock() + patience.deadline_s
    for attempt in range(patience.retries + 1):
        try:
            return call(content, max(end - clock(), 1e-3))
        except CallError as error:
            longest = min(patience.first_wait_s * 2**attempt, patience.longest_wait_s)
            pause = random.uniform(longest / 2, longest)
            last = attempt == patience.retries or clock() + pause >= end
            if error.code not in RETRIED or last:
                raise
        wait(pause)
    raise AssertionError("the last attempt returns or raises")


def viewpoint_of(answer: dict[str, list]) -> tuple[list[float], dict[str, float]]:
    """Degrees [3]; "confidence" and "novelty", those that the model tells.

    Raises:
      UserError: the answer is of another model.
    """
    try:
        degrees = [float(angle) for angle in np.ravel(answer[OUTPUT])]
        further = {name: float(np.ravel(answer[name])[0]) for name in FURTHER if name in answer}
    except (KeyError, IndexError, TypeError, ValueError):
        degrees, further = [], {}
    if len(degrees) != 3 or not all(map(math.isfinite, [*degrees, *further.values()])):
        raise UserError(f"the server's answer is no viewpoint: {str(answer)[:120]}")
    return degrees, further


class GrpcCaller:
    """Predict over gRPC; one channel for all threads.

    Args:
      host: HOST:PORT.
      model: its name.
      tls: whether the server speaks TLS.

    Raises:
      UserError: TF Serving's messages are not installed.
    """

    def __init__(self, host: str, model: str, tls: bool = False) -> None:
        import grpc

        from ssv_tf.base import stderr

        try:
            with stderr.captured():
                from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
        except ImportError as error:
            from ssv_tf.export.serving.configs import NEEDS

            raise UserError(f"{NEEDS}, or speak REST") from error
        options = [("grpc.enable_retries", 0), ("grpc.max_receive_message_length", 1 << 20)]
        self._channel = (
            grpc.secure_channel(host, grpc.ssl_channel_credentials(), options)
            if tls
            else grpc.insecure_channel(host, options)
        )
        self._predict = prediction_service_pb2_grpc.PredictionServiceStub(self._channel).Predict
        self._request, self._failed, self._model = predict_pb2.PredictRequest, grpc.RpcError, model

    def __call__(self, content: bytes, timeout_s: float) -> dict[str, list]:
        import tensorflow as tf

        request = self._request()
        request.model_spec.name = self._model
        request.model_spec.signature_name = JPEG_SIGNATURE
        request.inputs[JPEG_INPUT].CopyFrom(tf.make_tensor_proto([content]))
        try:
            response = self._predict(request, timeout=timeout_s)
        except self._failed as error:
            raise CallError(error.code().name, error.details() or "") from None
        return {name: tf.make_ndarray(value).tolist() for name, value in response.outputs.items()}

    def close(self) -> None:
        """Ends the channel."""
        self._channel.close()


class RestCaller:
    """Predict over HTTP; one connection a thread, kept open.

    Args:
      host: HOST:PORT.
      model: its name.
      tls: whether the server speaks HTTPS.
    """

    def __init__(self, host: str, model: str, tls: bool = False) -> None:
        self._host, self._path = host, f"/v1/models/{model}:predict"
        self._kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
        self._local = threading.local()

    def __call__(self, content: bytes, timeout_s: float) -> dict[str, list]:
        coded = {"b64": base64.b64encode(content).decode()}
        body = json.dumps({"signature_name": JPEG_SIGNATURE, "instances": [coded]})
        try:
            status, text = self._post(body, timeout_s)
        except TimeoutError:
            self.close()
            raise CallError("DEADLINE_EXCEEDED", f"no answer in {timeout_s:.1f} s") from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            code = "UNAUTHENTICATED" if isinstance(error, ssl.SSLError) else "UNAVAILABLE"
            raise CallError(code, _said(error)) from None
        return self._read(status, text)

    def _post(self, body: str, timeout_s: float) -> tuple[int, bytes]:
        end = time.monotonic() + timeout_s
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._kind(self._host)
        connection.timeout = timeout_s
        if connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        connection.request("POST", self._path, body, {"Content-Type": "application/json"})
        response, text = connection.getresponse(), b""
        while part := response.read1(1 << 16):
            text += part
            if len(text) > _MAX_ANSWER_BYTES:
                raise http.client.HTTPException("an answer of over a megabyte")
            if time.monotonic() > end:  # a timeout bounds each piece, not all of them
                raise TimeoutError
        response.close()  # or the connection would wait for it for ever
        return response.status, text

    def _read(self, status: int, text: bytes) -> dict[str, list]:
        try:
            answer = json.loads(text)
        except ValueError:
            answer = {}
        answer = answer if isinstance(answer, dict) else {}
        if status != 200:
            code = _BY_HTTP.get(status, "INTERNAL" if status >= 500 else "UNKNOWN")
            raise CallError(code, str(answer.get("error", f"HTTP {status}")))
        predictions = answer.get("predictions")
        if not isinstance(predictions, list) or len(predictions) != 1:
            raise CallError("UNKNOWN", "HTTP 200 without a prediction: not a model server?")
        prediction = predictions[0]
        return prediction if isinstance(prediction, dict) else {OUTPUT: prediction}

    def close(self) -> None:
        """Ends this thread's connection."""
        connection = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()


def _said(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "the host's name is not known"
    if isinstance(error, http.client.BadStatusLine):
        return "it does not answer in HTTP"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
