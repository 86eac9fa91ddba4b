"""Warm-up requests: what a model server runs before it lets the first client in."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from ssv_tf.base.errors import UserError
from ssv_tf.export.fold import INPUT
from ssv_tf.export.serving.configs import NEEDS
from ssv_tf.export.serving.model import DEFAULT_SIGNATURE, ServedModel
from ssv_tf.export.serving.names import JPEG_INPUT, JPEG_SIGNATURE

FILE = Path("assets.extra", "tf_serving_warmup_requests")
# The server stops at more, and starts no sooner for having read them.
MOST_RECORDS = 1000


def write(version: Path, name: str, pictures: np.ndarray, sizes: tuple[int, ...]) -> Path:
    """Writes PredictionLogs of answered requests as a TFRecord into a version's folder.

    One request of one tensor, then one of encoded JPEGs for every size of a batch, so that V has
    run at each of them.

    Args:
      version: folder with saved_model.pb.
      name: what requests call the model.
      pictures: uint8 [m, r, r, 3], real ones; repeated where a batch needs more.
      sizes: batch sizes.

    Raises:
      UserError: TF Serving's messages are not installed, or the model does not answer.
    """
    logs = _messages()
    model = ServedModel(version, name)
    path = version / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in _requests(pictures, sizes):
            log = logs.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for key, value in inputs.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            response = log.predict_log.response
            response.model_spec.CopyFrom(request.model_spec)
            for key, value in model.predict(inputs, signature).items():
                response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
            writer.write(log.SerializeToString())
    return path


def _requests(
    pictures: np.ndarray, sizes: Sequence[int]
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    yield DEFAULT_SIGNATURE, {INPUT: pictures[:1].astype(np.float32)}
    encoded = [_jpeg(picture) for picture in pictures[: max(sizes)]]
    for size in sizes:
        batch = [encoded[i % len(encoded)] for i in range(size)]
        yield JPEG_SIGNATURE, {JPEG_INPUT: np.array(batch, object)}


def _jpeg(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def records(version: Path) -> list:
    """The PredictionLogs of a version.

    Raises:
      UserError: there are none, too many, or they do not parse.
    """
    path, kind = version / FILE, _messages().PredictionLog
    try:
        raw = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
        logs = [kind.FromString(record) for record in raw]
    except tf.errors.OpError as error:
        raise UserError(f"{path} cannot be read: {error.message}") from error
    except ValueError as error:  # protobuf's DecodeError is one
        raise UserError(f"{path} holds something else than PredictionLogs: {error}") from error
    if not 0 < len(logs) <= MOST_RECORDS:
        raise UserError(f"{path} has {len(logs)} records; between 1 and {MOST_RECORDS} are read")
    return logs


def replay(version: Path, model: ServedModel) -> int:
    """Runs every record and returns their number.

    Raises:
      UserError: an answer is not finite, or not the recorded one.
    """
    logs = records(version)
    for log in logs:
        request = log.predict_log.request
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        answers = model.predict(inputs, request.model_spec.signature_name)
        for key, recorded in log.predict_log.response.outputs.items():
            expected = tf.make_ndarray(recorded)
            close = expected.shape == answers[key].shape and np.allclose(
                answers[key], expected, atol=1
            )
            if not (close and np.isfinite(answers[key]).all()):
                raise UserError(f"{version / FILE}: replaying a request gave another {key}")
    return len(logs)


def _messages():
    try:
        from tensorflow_serving.apis import prediction_log_pb2
    except ImportError as error:
        raise UserError(NEEDS) from error
    return prediction_log_pb2
