"""A stand-in for TensorFlow's model server, for tests and for trying a client on this machine.

  python -m tools.local_server --serving=OUT/serving

It answers Predict, GetModelMetadata and GetModelStatus over gRPC and their REST forms, on 127.0.0.1
only, with the statuses the model server gives. It is no replacement for it: no TLS, no reloading.
"""

import json
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from absl import flags

from ssv_tf.base import cli
from ssv_tf.base.errors import FlagError, UserError
from ssv_tf.export.serving import configs
from ssv_tf.export.serving.model import (
    RequestError,
    ServedModel,
    find_model,
    from_proto,
    latest_version,
    to_proto,
)
from tools import rest

LOOPBACK = "127.0.0.1"
MAX_REQUEST_BYTES = 32 << 20
MAX_REQUESTS = 256
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def define_flags() -> None:
    """Registers the command's flags."""
    flags.DEFINE_string("serving", None, "Folder that export wrote for TF Serving.")
    flags.DEFINE_integer("grpc_port", 8500, "0: any free one.", lower_bound=0, upper_bound=65535)
    flags.DEFINE_integer("rest_port", 8501, "0: any free one.", lower_bound=0, upper_bound=65535)


def main(argv: Sequence[str]) -> None:
    """Serves until SIGTERM or Ctrl-C; prints one line of JSON with the ports once it answers."""
    values = flags.FLAGS
    if argv[1:]:
        raise FlagError(f"unexpected argument {argv[1]!r}; every option is a --flag")
    if not values.serving:
        raise FlagError("--serving=FOLDER is missing")
    server = LocalServer(load(Path(values.serving)), values.grpc_port, values.rest_port)
    print(json.dumps({"grpc": server.grpc_port, "rest": server.rest_port}), flush=True)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        stop.wait()
    finally:
        server.stop()


def load(folder: Path) -> dict[str, ServedModel]:
    """The models of models.config, newest version each, by name.

    Raises:
      UserError: no such folder, or a model is missing or does not load.
    """
    if not folder.is_dir():
        raise UserError(f"no such folder: {folder}")
    if not (folder / configs.MODELS).is_file():
        raise UserError(f"{folder} has no {configs.MODELS}: export --formats=serving writes it")
    names = configs.served_names(folder)
    return {name: ServedModel(latest_version(folder / name), name) for name in names}


class LocalServer:
    """gRPC and REST on 127.0.0.1.

    Args:
      models: by name.
      grpc_port: 0 for any free one.
      rest_port: likewise.

    Attributes:
      grpc_port: the port that was taken.
      rest_port: likewise.

    Raises:
      UserError: a port is taken.
    """

    def __init__(
        self, models: dict[str, ServedModel], grpc_port: int = 0, rest_port: int = 0
    ) -> None:
        self._grpc = _grpc_server(models)
        try:
            self.grpc_port = self._grpc.add_insecure_port(f"{LOOPBACK}:{grpc_port}")
            self._rest = rest.make_server(models, LOOPBACK, rest_port, MAX_REQUEST_BYTES)
        except (RuntimeError, OSError) as error:
            raise UserError(f"cannot listen on {LOOPBACK}: {error}") from error
        self.rest_port = self._rest.server_address[1]
        self._grpc.start()
        self._thread = threading.Thread(target=self._rest.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends both; requests under way get a second."""
        self._rest.shutdown()
        self._rest.server_close()
        self._thread.join()
        self._grpc.stop(1).wait()

    def __enter__(self) -> "LocalServer":
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()


def _grpc_server(models):
    try:
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc
    except ImportError as error:
        raise UserError(configs.NEEDS) from error
    server = grpc.server(
        ThreadPoolExecutor(max_workers=64),
        maximum_concurrent_rpcs=MAX_REQUESTS,
        options=[("grpc.max_receive_message_length", MAX_REQUEST_BYTES), ("grpc.so_reuseport", 0)],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Prediction(models), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Status(models), server)
    return server


def _answering(method):
    """A method of a service whose RequestErrors become gRPC statuses."""

    def answering(self, request, context):
        try:
            return method(self, request)
        except RequestError as error:
            context.abort(_CODES.get(error.code, grpc.StatusCode.UNKNOWN), error.message)

    return answering


class _Service:
    def __init__(self, models: dict[str, ServedModel]) -> None:
        self._models = models

    def _find(self, spec: Any) -> ServedModel:
        version = spec.version.value if spec.HasField("version") else None
        return find_model(self._models, spec.name, version)


class _Prediction(_Service):
    """PredictionService: Predict and GetModelMetadata; the rest is UNIMPLEMENTED."""

    @_answering
    def Predict(self, request: Any) -> Any:
        from tensorflow_serving.apis import predict_pb2

        model = self._find(request.model_spec)
        inputs = {name: from_proto(tensor) for name, tensor in request.inputs.items()}
        signature = request.model_spec.signature_name
        outputs = model.predict(inputs, signature, request.output_filter)
        response = predict_pb2.PredictResponse()
        _say_model(response.model_spec, model)
        response.model_spec.signature_name = signature or "serving_default"
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(to_proto(value))
        return response

    @_answering
    def GetModelMetadata(self, request: Any) -> Any:
        from tensorflow_serving.apis import get_model_metadata_pb2

        model = self._find(request.model_spec)
        if list(request.metadata_field) != ["signature_def"]:
            raise RequestError(3, "metadata_field: signature_def is the one there is")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        _say_model(response.model_spec, model)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in model.signature_defs.items():
            signatures.signature_def[name].CopyFrom(signature)
        response.metadata["signature_def"].Pack(signatures)
        return response

    def _unimplemented(self, _, context):
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "the local server has Predict only")

    Classify = Regress = MultiInference = PredictStreamed = _unimplemented


class _Status(_Service):
    """ModelService: GetModelStatus; reloading is UNIMPLEMENTED."""

    @_answering
    def GetModelStatus(self, request: Any) -> Any:
        from tensorflow_serving.apis import get_model_status_pb2

        model = self._find(request.model_spec)
        response = get_model_status_pb2.GetModelStatusResponse()
        status = response.model_version_status.add(version=model.version)
        status.state = status.AVAILABLE
        return response

    def HandleReloadConfigRequest(self, _: Any, context: Any) -> None:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "the local server does not reload")


def _say_model(spec: Any, model: ServedModel) -> None:
    spec.name = model.name
    spec.version.value = model.version


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
