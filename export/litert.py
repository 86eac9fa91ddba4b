"""An exported .tflite as its users hold it: opened, checked, run; TensorFlow is not needed."""

import os

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from ssv_tf.base import stderr
from ssv_tf.base.errors import UserError
from ssv_tf.export.names import INPUT, OUTPUT, OUTPUTS, SIGNATURE

_IDENTIFIER = b"TFL3"  # bytes 4 to 8 of every TFLite file


class ExportError(UserError):
    """A converted file is not what it should be, or the conversion failed."""


class Predictor:
    """Runs a TFLite file picture by picture.

    Args:
      model: path of the file, or its content.
      threads: of the CPU.

    Attributes:
      name: the file's, for messages.
      resolution: side of the picture in pixels.
      answers: names of the outputs.
      runner: of the signature, as LiteRT gives it.

    Raises:
      ExportError: there is no such file, it is damaged, or it is no model of this package.
    """

    def __init__(self, model: str | os.PathLike | bytes, threads: int = 1) -> None:
        self.name = "the TFLite file" if isinstance(model, bytes) else str(model)
        with stderr.captured():
            try:
                self._interpreter = _interpreter(model, threads)
                self._interpreter.allocate_tensors()
                signatures = self._interpreter.get_signature_list()
            except (ValueError, RuntimeError, OSError) as error:
                first = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise ExportError(f"{self.name} cannot be run, is it whole? {first}") from error
            _check_signatures(self.name, signatures)
            self.runner = self._interpreter.get_signature_runner(SIGNATURE)
        self._input = self.runner.get_input_details()[INPUT]
        self.resolution = int(self._input["shape"][1])
        self.answers = sorted(self.runner.get_output_details())

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 [n, r, r, 3] -> float32 degrees [n, 3]."""
        return self.outputs(pictures)[OUTPUT]

    def outputs(self, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """uint8 [n, r, r, 3] -> every output by name: viewpoint_deg [n, 3], the others [n, 1]."""
        side = self.resolution
        if pictures.ndim != 4 or pictures.shape[1:] != (side, side, 3) or not len(pictures):
            raise ExportError(
                f"{self.name} takes RGB pictures [n, {side}, {side}, 3], got {list(pictures.shape)}"
            )
        dtype = self._input["dtype"]
        rows = [self.runner(**{INPUT: picture[None].astype(dtype)}) for picture in pictures]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _interpreter(model: str | os.PathLike | bytes, threads: int) -> Interpreter:
    if isinstance(model, bytes):
        return Interpreter(model_content=model, num_threads=threads)
    check_file(model)
    return Interpreter(model_path=str(model), num_threads=threads)


def check_file(path: str | os.PathLike) -> None:
    """Looks at the first bytes of a file.

    Raises:
      ExportError: it is none, cannot be read, or holds something other than TFLite.
    """
    try:
        with open(path, "rb") as stream:
            head = stream.read(8)
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror or error}") from error
    if head[4:] != _IDENTIFIER:
        raise ExportError(f"{path} is no TFLite file" + ("" if head else ": it is empty"))


def _check_signatures(name: str, signatures: dict[str, dict[str, list[str]]]) -> None:
    signature = signatures.get(SIGNATURE, {"inputs": [], "outputs": []})
    outputs = set(signature["outputs"])
    if signature["inputs"] != [INPUT] or not {OUTPUT} <= outputs <= set(OUTPUTS):
        has = "; ".join(
            f"{key}: {', '.join(ends['inputs'])} -> {', '.join(ends['outputs'])}"
            for key, ends in signatures.items()
        )
        raise ExportError(
            f"{name} is another kind of model: it lacks the signature {SIGNATURE}: {INPUT} -> "
            f"{OUTPUT} and has {has or 'none'}"
        )


def custom_operations(content: bytes) -> list[str]:
    """Names of the operations in a TFLite file that are not built in (Flex and custom)."""
    model = schema.Model.GetRootAs(content, 0)
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    return sorted(code.CustomCode().decode() for code in codes if code.CustomCode())


def operations(content: bytes) -> list[str]:
    """Names of the operations a TFLite file runs, in order, before any delegate takes some."""
    names = {
        value: name
        for name, value in vars(schema.BuiltinOperator).items()
        if not name.startswith("_")
    }
    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    used = (graph.Operators(i).OpcodeIndex() for i in range(graph.OperatorsLength()))
    return [names[model.OperatorCodes(index).BuiltinCode()] for index in used]
