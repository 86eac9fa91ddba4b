"""A SavedModel answering requests as TensorFlow's model server lets it: one session, by names."""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf import config_pb2

from ssv_tf.base import stderr
from ssv_tf.base.errors import UserError

DEFAULT_SIGNATURE = "serving_default"
_MAX_VALUES = 1 << 26


class RequestError(Exception):
    """A request that is refused.

    Attributes:
      code: number of the gRPC status, such as 3 for INVALID_ARGUMENT.
      message: why, on one line.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclasses.dataclass(frozen=True)
class Signature:
    """Ends of a signature: name -> (tensor in the graph, NumPy type, shape with None)."""

    inputs: Mapping[str, tuple[str, type, tuple[int | None, ...]]]
    outputs: Mapping[str, tuple[str, type, tuple[int | None, ...]]]


class ServedModel:
    """One version of a model, loaded and run in a session as the model server does it.

    The shape of what is fed is not looked at, as the C++ session does not: the graph has to.

    Args:
      path: folder of the version (holds saved_model.pb).
      name: what requests call the model.

    Attributes:
      name: as given.
      version: the folder's name as a number.
      signatures: name -> Signature.

    Raises:
      UserError: no SavedModel there, or one that does not load.
    """

    def __init__(self, path: str | os.PathLike, name: str) -> None:
        path = Path(path)
        self.name, self.version = name, int(path.name)
        self._graph = tf.Graph()
        try:
            with stderr.captured(), self._graph.as_default():
                # As the compose file asks of the model server: requests keep the cores busy.
                config = config_pb2.ConfigProto(intra_op_parallelism_threads=1)
                self._session = tf.compat.v1.Session(graph=self._graph, config=config)
                meta = tf.compat.v1.saved_model.load(self._session, ["serve"], str(path))
        except (OSError, RuntimeError, tf.errors.OpError) as error:
            raise UserError(f"{path} is no SavedModel that loads: {_first(str(error))}") from error
        self.signature_defs = meta.signature_def
        self.signatures = {
            key: Signature(_ends(definition.inputs), _ends(definition.outputs))
            for key, definition in meta.signature_def.items()
            if definition.method_name.endswith("predict")
        }
        self._calls: dict = {}

    def predict(
        self,
        inputs: Mapping[str, np.ndarray],
        signature: str = "",
        output_filter: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Outputs by name.

        Args:
          inputs: arrays by the signature's names; strings as arrays of bytes objects.
          signature: its name; empty: serving_default.
          output_filter: the outputs wanted; empty: all.

        Raises:
          RequestError: INVALID_ARGUMENT, or whatever the graph fails with.
        """
        definition = self.signatures.get(signature or DEFAULT_SIGNATURE)
        if definition is None:
            raise RequestError(9, f'Serving signature key "{signature}" not found.')
        if set(inputs) != set(definition.inputs):
            raise RequestError(3, f"inputs are {sorted(definition.inputs)}, not {sorted(inputs)}")
        unknown = [name for name in output_filter if name not in definition.outputs]
        if unknown or len(set(output_filter)) < len(output_filter):
            raise RequestError(3, f"output_filter {list(output_filter)}: see the signature")
        names = list(output_filter) or sorted(definition.outputs)
        call = self._call(definition, names)
        try:
            return dict(
                zip(names, call(*(inputs[name] for name in definition.inputs)), strict=True)
            )
        except tf.errors.OpError as error:
            raise RequestError(error.error_code, _first(error.message)) from None
        except (TypeError, ValueError) as error:
            raise RequestError(3, _first(str(error))) from None

    def _call(self, signature: Signature, names: list[str]) -> Callable[..., Any]:
        """A session call, made once: without the shape check that Python's `run` would do."""
        feeds = [tensor for tensor, _, _ in signature.inputs.values()]
        key = (*feeds, *names)
        if key not in self._calls:
            fetches = [signature.outputs[name][0] for name in names]
            options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
            self._calls[key] = self._session._make_callable_from_options(options)
        return self._calls[key]


def _ends(infos: Mapping[str, Any]) -> dict[str, tuple[str, type, tuple[int | None, ...]]]:
    ends = {}
    for name in sorted(infos):
        shape = tuple(None if d.size < 0 else d.size for d in infos[name].tensor_shape.dim)
        ends[name] = infos[name].name, tf.as_dtype(infos[name].dtype).as_numpy_dtype, shape
    return ends


def _first(message: str) -> str:
    """What went wrong, without the place in the graph and Python's own preface."""
    lines = [line.strip() for line in message.splitlines()]
    skipped = ("Graph execution error", "Detected at node", "<stack traces", "[[", "Errors may")
    said = [line for line in lines if line and not line.startswith(skipped)]
    return (said or [message.strip()])[0][:500]


def latest_version(folder: str | os.PathLike) -> Path:
    """The version folder with the highest number below NAME/.

    Raises:
      UserError: there is none.
    """
    folder = Path(folder)
    versions = [p for p in folder.glob("*") if p.is_dir() and p.name.isdecimal()]
    if not versions:
        raise UserError(f"{folder} has no version folder such as {folder.name}/1")
    return max(versions, key=lambda path: int(path.name))


def find_model(models: dict[str, ServedModel], name: str, version: int | None) -> ServedModel:
    """The model a request names.

    Raises:
      RequestError: NOT_FOUND, in the model server's words.
    """
    model = models.get(name)
    if model is None or version not in (None, model.version):
        requested = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise RequestError(5, f"Servable not found for request: {requested}")
    return model


def to_proto(array: np.ndarray) -> TensorProto:
    """An array as a TensorProto."""
    return tf.make_tensor_proto(array)


def from_proto(tensor: TensorProto) -> np.ndarray:
    """The array of a TensorProto that somebody else made.

    Raises:
      RequestError: INVALID_ARGUMENT: it is none, or one that a few bytes make enormous.
    """
    size = math.prod(dimension.size for dimension in tensor.tensor_shape.dim)
    if not 0 <= size <= _MAX_VALUES:
        raise RequestError(3, f"a tensor of {size} values")
    try:
        return tf.make_ndarray(tensor)
    except (TypeError, ValueError) as error:
        raise RequestError(3, f"not a tensor: {_first(str(error))}") from None
