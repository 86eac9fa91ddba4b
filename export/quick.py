"""A run's network as a LiteRT file, so that a prediction starts without TensorFlow.

The file holds the network alone, in float32: pictures in, what `network.answers` says out. It is
decoded as Keras's answers are (`models.decoding`), with whatever calibration the run has.

It lies beside the network as `models/analysis.tflite`, or in the user's cache directory where that
folder is not the user's to write. In its end stands the hash of the network that it was made from:
a file of another network is not used.
"""

import contextlib
import dataclasses
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ssv_tf.base import files, stderr
from ssv_tf.base.errors import UserError
from ssv_tf.data.framing import to_network
from ssv_tf.models.decoding import RawPrediction
from ssv_tf.models.encoding import Encoding
from ssv_tf.training.run_folder import Run

FILE_NAME = "analysis.tflite"
_VERSION = 2  # of what the network answers; files of another are made anew
_ABOUT = "about.json"
_INPUT, _SIGNATURE = "pictures", "serving_default"
_WORTH = 1e-3  # largest difference from Keras's logits that rounding explains
_BATCH = 16  # pictures a call where there are so many: each then costs half
_COMPARED = _BATCH + 1  # pictures


class QuickNetwork:
    """The network of a file, on one thread: the others read pictures.

    Args:
      content: of the file.
      encoding: of the network's angles.

    Raises:
      ValueError, RuntimeError: the content is no such file.
    """

    def __init__(self, content: bytes, encoding: Encoding) -> None:
        self._content, self.encoding = content, encoding
        self._runners: dict[int, Callable] = {}
        self._runner(1)

    def predict(self, pictures: np.ndarray) -> RawPrediction:
        """As `models.inference.predict`: uint8 [n, R, R, 3], n from 1 -> float32 arrays."""
        batched = len(pictures) - len(pictures) % _BATCH
        sizes = [_BATCH] * (batched // _BATCH) + [1] * (len(pictures) - batched)
        parts = np.split(pictures, np.cumsum(sizes)[:-1])
        rows = [self._runner(len(part))(**{_INPUT: to_network(part)}) for part in parts]
        answers = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        return RawPrediction.of(self, answers)

    def _runner(self, count: int) -> Callable:
        """The network for so many pictures a call; each has an interpreter of its own."""
        from ai_edge_litert.interpreter import Interpreter

        if count not in self._runners:
            with stderr.captured():
                interpreter = Interpreter(model_content=self._content, num_threads=1)
                (given,) = interpreter.get_input_details()
                # Before the CPU's delegate sees the model: it takes none of open shape.
                interpreter.resize_tensor_input(given["index"], [count, *given["shape"][1:]])
                interpreter.allocate_tensors()
                self._runners[count] = interpreter.get_signature_runner(_SIGNATURE)
        return self._runners[count]


def find(run: Run) -> QuickNetwork | None:
    """The file of the run's present network, ready to run; None where there is none."""
    networks = run.networks
    for path in _places(run, networks) if networks else ():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RuntimeError,
                                 ImportError, zipfile.BadZipFile):  # fmt: skip
            content = path.read_bytes()
            about = _about(content)
            if (about["version"], about["networks"]) == (_VERSION, networks):
                return QuickNetwork(content, Encoding(**_tuples(about["encoding"])))
    return None


def keep(run: Run) -> Path | None:
    """Writes the file of a run where the next prediction finds it; needs TensorFlow as backend.

    Returns:
      its path; None where there is no place to write to, or LiteRT answers otherwise than Keras.
    """
    from ssv_tf.base.backend import keras

    if not run.networks or keras.backend.backend() != "tensorflow":
        return None
    content = made(run)
    for path in _places(run, run.networks)[run.preset is not None :] if content else ():
        with contextlib.suppress(UserError):
            return files.write_atomically(path, content)
    return None


def made(run: Run) -> bytes:
    """The file's content; empty where it would not be the run's network."""
    networks = run.networks
    network: Any = run.analysis()
    if run.networks != networks:  # a training has written another meanwhile
        return b""
    try:
        with stderr.captured():
            content = _converted(network)
        exact = _is_exact(network, QuickNetwork(content, network.encoding))
    except Exception:  # the converter raises nearly anything; Keras predicts all the same
        return b""
    about = {
        "version": _VERSION,
        "networks": networks,
        "encoding": dataclasses.asdict(network.encoding),
    }
    return _with_about(content, about) if exact else b""


def _places(run: Run, networks: str) -> tuple[Path, Path]:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return run.models_dir / FILE_NAME, Path(cache, "ssv_tf", f"{networks}.tflite")


def _converted(network: Any) -> bytes:
    import tensorflow as tf

    shape = (None, network.resolution, network.resolution, 3)
    function: Callable = lambda pictures: network.answers(pictures)  # noqa: E731
    answers = tf.function(function, autograph=False).get_concrete_function(
        **{_INPUT: tf.TensorSpec(shape, tf.float32, name=_INPUT)}
    )
    module = tf.Module()
    module.weights = list(answers.graph.variables)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={_SIGNATURE: answers})
        return tf.lite.TFLiteConverter.from_saved_model(folder).convert()


def _is_exact(network: Any, quick: QuickNetwork) -> bool:
    from ssv_tf.models import inference

    shape = (_COMPARED, network.resolution, network.resolution, 3)
    pictures = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    pairs = zip(
        _arrays(inference.predict(network, pictures)), _arrays(quick.predict(pictures)), strict=True
    )
    return all(np.allclose(wanted, answer, _WORTH, _WORTH) for wanted, answer in pairs)


def _arrays(raw: RawPrediction) -> Iterator[np.ndarray]:
    values = (getattr(raw, field.name) for field in dataclasses.fields(raw))
    return (value for value in values if isinstance(value, np.ndarray))


def _with_about(content: bytes, about: dict[str, Any]) -> bytes:
    """A ZIP archive behind the model, as TFLite's own metadata has its files."""
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr(zipfile.ZipInfo(_ABOUT), json.dumps(about))
    return stream.getvalue()


def _about(content: bytes) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return json.loads(archive.read(_ABOUT))


def _tuples(values: dict[str, list[float]]) -> dict[str, Any]:
    return {name: tuple(map(float, numbers)) for name, numbers in values.items()}
