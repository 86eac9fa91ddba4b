"""TFLite (LiteRT) files of a folded V: written, checked and run.

Kinds:
  fp32       weights and arithmetic in float32.
  fp16       weights in float16, arithmetic in float32.
  dynamic    weights in int8, activations turned to int8 on the fly.
  int8       convolutions and dense layers in int8, weights and activations; the instance norm,
             the activations between and the decoding stay float32. The usual choice for a CPU.
  int8_full  everything TFLite can quantise: for accelerators without floats. Costs more degrees.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from ssv_tf.base import files, stderr
from ssv_tf.export import metadata
from ssv_tf.export.about import UNKNOWN, About
from ssv_tf.export.fold import DECODING, FoldedViewpoint
from ssv_tf.export.litert import ExportError, Predictor, custom_operations
from ssv_tf.export.litert import operations as operations
from ssv_tf.export.names import FURTHER, INPUT, OUTPUT, SIGNATURE
from ssv_tf.models.layers import STATISTICS

KINDS = ("fp32", "fp16", "dynamic", "int8", "int8_full")
CALIBRATED_KINDS = ("int8", "int8_full")
INPUT_TYPES = {"uint8": tf.uint8, "float": tf.float32}

_BYTES_PER_WEIGHT = {"fp32": 4, "fp16": 2, "dynamic": 1, "int8": 1, "int8_full": 1}
# Of a file beyond its weights: the graph, and small tensors that stay float.
_OVERHEAD_BYTES = 256 * 1024

# What "int8" turns to 8 bits, and nothing else: a variance in 8 bits costs degrees, and so does a
# softmax in steps of 1/256 before a square root.
_INT8_OPERATIONS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
# Of the conversion itself; the quantiser knows no other version of it.
_TYPE_CHANGES = {"CAST"}


def write(
    folded: FoldedViewpoint,
    kind: str,
    path: str | os.PathLike,
    representative: np.ndarray | None = None,
    input_type: str = "uint8",
    batch: int | None = 1,
    about: About = UNKNOWN,
) -> Path:
    """Converts, checks, and only then writes the file under its name.

    Args:
      folded: the model.
      kind: one of KINDS.
      path: where to; replaced if it exists.
      representative: uint8 [n, r, r, 3], real pictures; needed for CALIBRATED_KINDS.
      input_type: "uint8", or "float" for float32 pictures in 0..255. int8 kinds: always uint8.
      batch: pictures a call. None: the caller may resize the input, which costs speed, as the
        CPU delegate takes no model of open shape.
      about: what the metadata in the file tells of the model.

    Raises:
      ExportError: conversion failed, or the result has lost its weights, needs operations
        outside TFLite, or has other inputs and outputs than it should.
    """
    content = convert(folded, kind, representative, input_type, batch)
    content = metadata.attach(content, about, kind)
    check(content, kind, folded)
    return files.write_atomically(path, content)


def convert(
    folded: FoldedViewpoint,
    kind: str,
    representative: np.ndarray | None = None,
    input_type: str = "uint8",
    batch: int | None = 1,
) -> bytes:
    """The file's content without metadata; arguments as `write`."""
    if kind not in KINDS:
        raise ExportError(f"format {kind!r} is none of {', '.join(KINDS)}")
    if kind in CALIBRATED_KINDS and (representative is None or not len(representative)):
        raise ExportError(f"{kind} needs representative pictures")
    dtype = tf.uint8 if kind in CALIBRATED_KINDS else INPUT_TYPES[input_type]
    with tempfile.TemporaryDirectory() as folder, stderr.captured() as written:
        try:
            # From functions the converter once dropped the weights; from a folder it does not.
            signature = folded.trace(dtype, batch)
            tf.saved_model.save(folded, folder, signatures={SIGNATURE: signature})
            converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
            return _convert(converter, kind, representative)
        except Exception as error:  # the converter raises nearly anything
            raise ExportError(f"conversion to {kind} failed: {_cause(written(), error)}") from error


def _convert(
    converter: tf.lite.TFLiteConverter, kind: str, representative: np.ndarray | None
) -> bytes:
    if kind == "fp32":
        return converter.convert()
    keep = _float_parts(converter, kind) if kind in CALIBRATED_KINDS else {}
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    return _quantise(converter, representative, **keep) if keep else converter.convert()


def _float_parts(converter: tf.lite.TFLiteConverter, kind: str) -> dict[str, list[str]]:
    """What stays float, read from the float file: for int8 all operations but the few of
    _INT8_OPERATIONS, for int8_full only statistics and decoding, by name.
    """
    content = converter.convert()
    if kind == "int8":
        float_operations = set(operations(content)) - _INT8_OPERATIONS - _TYPE_CHANGES
        return {"denylisted_ops": sorted(float_operations)}
    return {"denylisted_nodes": _decoding_tensors(content)}


def _quantise(
    converter: tf.lite.TFLiteConverter, representative: np.ndarray | None, **keep: Any
) -> bytes:
    def samples() -> Iterator[dict[str, np.ndarray]]:
        assert representative is not None
        for picture in representative:
            yield {INPUT: picture[None]}

    converter.representative_dataset = samples
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter,
        debug_dataset=samples,
        debug_options=tf.lite.experimental.QuantizationDebugOptions(**keep),
    )
    return debugger.get_nondebug_quantized_model()


def _cause(written: str, error: Exception) -> str:
    """The line of the compiler's long output that names what it cannot do."""
    for line in written.splitlines():
        if "error:" in line:
            return line.split("error:", 1)[1].strip()[:300]
    if isinstance(error, tf.errors.OpError):  # without the name of the graph's node
        return error.message.split("}} ")[-1].split(" [Op:")[0][:300]
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def check(content: bytes, kind: str, folded: FoldedViewpoint) -> None:
    """Size against the weights, only built-in operations, named inputs and outputs, one run.

    Raises:
      ExportError: says what is wrong.
    """
    weights = folded.parameters * _BYTES_PER_WEIGHT[kind]
    if not 0.95 * weights <= len(content) <= 1.5 * weights + _OVERHEAD_BYTES:
        raise ExportError(
            f"the {kind} file has {len(content)} bytes where {folded.parameters} weights need "
            f"about {weights}: its weights are missing or were not converted"
        )
    foreign = custom_operations(content)
    if foreign:
        raise ExportError(f"the {kind} file needs operations outside TFLite: {', '.join(foreign)}")
    grey = np.full((1, folded.resolution, folded.resolution, 3), 127, np.uint8)
    answers = Predictor(content).outputs(grey)
    shapes = {name: answer.shape for name, answer in answers.items()}
    finite = all(np.isfinite(answer).all() for answer in answers.values())
    known = {(OUTPUT, (1, 3)), *((name, (1, 1)) for name in FURTHER)}
    if not finite or shapes.items() - known:
        raise ExportError(f"the {kind} file answers {answers} for a grey picture")


def _decoding_tensors(content: bytes) -> list[str]:
    """Names of the tensors of statistics, and from the logits to the outputs, these included."""
    graph = schema.Model.GetRootAs(content, 0).Subgraphs(0)
    names = [graph.Tensors(i).Name().decode() for i in range(graph.TensorsLength())]
    outputs = [names[graph.Outputs(i)] for i in range(graph.OutputsLength())]
    scopes = (f"{DECODING}/", f"{STATISTICS}/")
    return [name for name in names if any(s in name for s in scopes) or name in outputs]
