"""The model server's configuration files, and the compose file that starts it."""

import functools
import re
from pathlib import Path
from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)

from ssv_tf.base import stderr
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.export.serving.batched import Batching

MODELS, BATCHING, MONITORING = "models.config", "batching.config", "monitoring.config"
COMPOSE = "docker-compose.yml"
MOUNTED = "/models"
METRICS_PATH = "/monitoring/prometheus/metrics"
NEEDS = "TF Serving's messages are missing; pip install 'ssv-tf[serving]'"

_BATCHING_NOTE = """\
# The numbers that batching inside the graph was built with, as BatchingParameters. The service
# `server` does not read them; `tensors` does, with --enable_batching. That flag joins whole
# requests before they are decoded: one JPEG that cannot be decoded then fails all requests of its
# batch. Use it where clients send serving_default only.
"""
_COMPOSE = """\
# docker compose up server     pictures as files or tensors: gRPC on 8500, REST on 8501
# docker compose up tensors    tensors only (serving_default), batched by the server itself
# Ports are open to this machine alone. TF_SERVING_TAG picks another image than the latest.
name: {name}
services:
  server:
    image: tensorflow/serving:${{TF_SERVING_TAG:-latest}}
    command:
{common}
    ports: ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]
    volumes: [".:{mounted}:ro"]
    restart: unless-stopped
  tensors:
    profiles: [tensors]
    image: tensorflow/serving:${{TF_SERVING_TAG:-latest}}
    command:
{common}
      - --enable_batching=true
      - --batching_parameters_file={mounted}/{batching}
    ports: ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]
    volumes: [".:{mounted}:ro"]
    restart: unless-stopped
"""


def check(name: str) -> None:
    """Says early what `write` would stumble over.

    Raises:
      SettingError: the name is not one that address, folder and compose can all have.
      UserError: TF Serving's messages are not installed.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", name):
        raise SettingError(f"`serving_name={name}`: use a-z, 0-9, _ and -")
    _model_server_config()


def write(folder: Path, name: str, batching: Batching) -> None:
    """Writes models.config, batching.config, monitoring.config and docker-compose.yml."""
    texts = {
        MODELS: text_format.MessageToString(_models(name)),
        BATCHING: _BATCHING_NOTE + text_format.MessageToString(_batching(batching)),
        MONITORING: text_format.MessageToString(_monitoring()),
        COMPOSE: _compose(name),
    }
    for file_name, text in texts.items():
        (folder / file_name).write_text(text)


def read(path: Path) -> Any:
    """A configuration file as the message its name stands for.

    Raises:
      UserError: it is missing or not of that form.
    """
    kinds = {MODELS: _model_server_config, BATCHING: _message_class("BatchingParameters")}
    message = (kinds | {MONITORING: _message_class("MonitoringConfig")})[path.name]()
    try:
        return text_format.Parse(path.read_text(), message)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, text_format.ParseError) as error:
        raise UserError(f"{path} is no {message.DESCRIPTOR.name}: {error}") from error


def served_names(folder: Path) -> list[str]:
    """Names of the models in models.config."""
    return [model.name for model in read(folder / MODELS).model_config_list.config]


def _model_server_config():
    try:
        with stderr.captured():
            from tensorflow_serving.config import model_server_config_pb2
    except ImportError as error:
        raise UserError(NEEDS) from error
    return model_server_config_pb2.ModelServerConfig()


def _models(name: str) -> Any:
    models = _model_server_config()
    model = models.model_config_list.config.add()
    model.name, model.base_path = name, f"{MOUNTED}/{name}"
    model.model_platform = "tensorflow"
    model.model_version_policy.latest.num_versions = 1
    return models


def _batching(batching: Batching) -> Any:
    message = _message_class("BatchingParameters")()
    message.max_batch_size.value = max(batching.sizes)
    message.batch_timeout_micros.value = batching.timeout_us
    message.max_enqueued_batches.value = batching.queued_batches
    message.num_batch_threads.value = batching.threads
    message.allowed_batch_sizes.extend(batching.sizes)
    return message


def _monitoring():
    message = _message_class("MonitoringConfig")()
    message.prometheus_config.enable = True
    message.prometheus_config.path = METRICS_PATH
    return message


def _compose(name: str) -> str:
    flags = [f"--model_config_file={MOUNTED}/{MODELS}"]
    flags += [f"--monitoring_config_file={MOUNTED}/{MONITORING}", "--enable_model_warmup=true"]
    # Requests keep the cores busy; parts of one operation would wait for each other.
    flags += ["--tensorflow_intra_op_parallelism=1"]
    common = "\n".join(f"      - {flag}" for flag in flags)
    return _COMPOSE.format(name=name, common=common, mounted=MOUNTED, batching=BATCHING)


# tensorflow-serving-api ships neither of these two: fields and numbers of the server's own
# session_bundle_config.proto and monitoring_config.proto, package tensorflow.serving.
_INT64 = ".google.protobuf.Int64Value"
_FIELDS: dict[str, list[tuple[str, int, str]]] = {
    "BatchingParameters": [
        ("max_batch_size", 1, _INT64),
        ("batch_timeout_micros", 2, _INT64),
        ("max_enqueued_batches", 3, _INT64),
        ("num_batch_threads", 4, _INT64),
        ("thread_pool_name", 5, ".google.protobuf.StringValue"),
        ("allowed_batch_sizes", 6, "repeated int64"),
        ("pad_variable_length_inputs", 7, "bool"),
    ],
    "PrometheusConfig": [("enable", 1, "bool"), ("path", 2, "string")],
    "MonitoringConfig": [("prometheus_config", 1, ".tensorflow.serving.PrometheusConfig")],
}


def _message_class(name: str) -> Any:
    return message_factory.GetMessageClass(
        _message_pool().FindMessageTypeByName(f"tensorflow.serving.{name}")
    )


@functools.cache
def _message_pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="ssv_tf/serving_configs.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind in fields:
            _add_field(message, field_name, number, kind)
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _add_field(message: Any, name: str, number: int, kind: str) -> None:
    field = message.field.add(name=name, number=number)
    repeated, word = kind.startswith("repeated "), kind.removeprefix("repeated ")
    field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
    if word.startswith("."):
        field.type, field.type_name = field.TYPE_MESSAGE, word
    else:
        field.type = getattr(field, f"TYPE_{word.upper()}")
