"""TFLite Metadata inside the files: what goes in, what comes out, whose it is, how good it is.

The buffer TFLITE_METADATA of a model (https://ai.google.dev/edge/litert/conversion/tensorflow/metadata)
is what Android Studio, Netron, tflite-support and MediaPipe show of a file:

    from tflite_support import metadata
    print(metadata.MetadataDisplayer.with_model_file("model_int8.tflite").get_metadata_json())
"""

import json
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as litert_schema
from ai_edge_litert.tools import flatbuffer_utils

from ssv_tf.data.framing import Framing
from ssv_tf.evaluation.calibration import CONVENTION
from ssv_tf.export import metadata_schema_generated as schema
from ssv_tf.export.about import About
from ssv_tf.export.litert import ExportError
from ssv_tf.export.names import CONFIDENCE, INPUT, NOVELTY, OUTPUT, SIGNATURE

ENTRY = "TFLITE_METADATA"
# Of the last line of the input's description.
FRAMING_MARK = "Framing: "
_IDENTIFIER = b"M001"
# No field that came with a later version of the schema is written.
_MIN_PARSER_VERSION = "1.0.0"

_KINDS = {
    "fp32": "weights and arithmetic in float32",
    "fp16": "weights in float16, arithmetic in float32",
    "dynamic": "weights in int8, activations quantised on the fly",
    "int8": "convolutions and dense layers in int8, the rest in float32",
    "int8_full": "everything that can be in int8",
}
_ANSWERS = {
    OUTPUT: (
        f"Azimuth, elevation, tilt in {CONVENTION}; each in (-180, 180], nothing left to decode.",
        ([-180.0] * 3, [180.0] * 3),
    ),
    CONFIDENCE: (
        "How sure the answer is, 0 to 1: of answers above a threshold fewer are wrong.",
        ([0.0], [1.0]),
    ),
    NOVELTY: (
        "How little the picture looks like those of the calibration, from 0. Above 1: it may well "
        "show something else, and the confidence falls to 0.",
        ([0.0], []),
    ),
}


def attach(content: bytes, about: About, kind: str) -> bytes:
    """The same model with metadata; what it had of that before is replaced.

    Args:
      content: of a TFLite file whose signature is named as in `names`.
      about: what is known of the model.
      kind: of the file, a key of tflite.KINDS.

    Raises:
      ExportError: the model's inputs or outputs have names that nothing is known of.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(content)
    packed = _packed(_described(model, about, kind))
    _buffer(model).data = np.frombuffer(packed, np.uint8)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _buffer(model: litert_schema.ModelT) -> litert_schema.BufferT:
    """The model's buffer for metadata; made where there is none."""
    model.metadata = model.metadata or []
    for entry in model.metadata:
        if entry.name == ENTRY.encode():
            return model.buffers[entry.buffer]
    entry = litert_schema.MetadataT()
    entry.name, entry.buffer = ENTRY, len(model.buffers)
    model.metadata.append(entry)
    model.buffers.append(litert_schema.BufferT())
    return model.buffers[-1]


def read(content: bytes) -> schema.ModelMetadataT | None:
    """The metadata of a TFLite file's content, None if it has none."""
    model = litert_schema.Model.GetRootAs(content, 0)
    for i in range(model.MetadataLength()):
        if model.Metadata(i).Name() == ENTRY.encode():
            data = model.Buffers(model.Metadata(i).Buffer()).DataAsNumpy().tobytes()
            return schema.ModelMetadataT.InitFromPackedBuf(data, 0)
    return None


def framing(content: bytes) -> Framing | None:
    """How pictures must be framed for a TFLite file, from its metadata; None if it does not say."""
    framing_json: Any = read(content)
    if framing_json is None:
        return None
    (tensor,) = framing_json.subgraphMetadata[0].inputTensorMetadata
    _, mark, text = tensor.description.decode().partition(f"\n{FRAMING_MARK}")
    return Framing.from_dict(json.loads(text)) if mark else None


def _packed(described: schema.ModelMetadataT) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(described.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def _described(model: litert_schema.ModelT, about: About, kind: str) -> schema.ModelMetadataT:
    metadata = schema.ModelMetadataT()
    metadata.name = f"{about.name}, {kind}"
    metadata.version, metadata.author, metadata.license = about.version, about.author, about.licence
    metadata.minParserVersion = _MIN_PARSER_VERSION
    metadata.description = "\n".join(
        [
            f"{about.introduction} {kind}: {_KINDS[kind]}.",
            f"Angles: {CONVENTION}.",
            about.calibration,
            f"Training data: {about.data}",
            f"Score (of the float network): {about.score}.",
            *(f"Limit: {limit}" for limit in about.limits),
        ]
    )
    metadata.subgraphMetadata = [_subgraph(model, about)]
    return metadata


def _subgraph(model: litert_schema.ModelT, about: About) -> schema.SubGraphMetadataT:
    """Tensors in the order of the graph, as the schema wants them, not of the signature."""
    signature = next(s for s in model.signatureDefs if s.signatureKey == SIGNATURE.encode())
    names = {m.tensorIndex: m.name.decode() for m in [*signature.inputs, *signature.outputs]}
    main = model.subgraphs[0]
    inputs, outputs = (
        [names.get(int(i), "?") for i in ends] for ends in (main.inputs, main.outputs)
    )
    if inputs != [INPUT] or not set(outputs) <= set(_ANSWERS):
        raise ExportError(f"the model takes {inputs} and answers {outputs}: none of this package")
    metadata = schema.SubGraphMetadataT()
    metadata.name = SIGNATURE
    metadata.description = f"Signature {SIGNATURE}: {INPUT} -> {', '.join(sorted(outputs))}."
    side = int(main.tensors[main.inputs[0]].shape[1])
    metadata.inputTensorMetadata = [_picture(side, about)]
    metadata.outputTensorMetadata = [_answer(name) for name in outputs]
    return metadata


def _picture(side: int, about: About) -> schema.TensorMetadataT:
    properties = schema.ImagePropertiesT()
    properties.colorSpace = schema.ColorSpaceType.RGB
    properties.defaultSize = schema.ImageSizeT()
    properties.defaultSize.width = properties.defaultSize.height = side
    described = f"Picture: {about.prepared} Values 0 to 255; the model normalises them."
    if about.framing:  # what follows the mark is JSON, for apps
        described += f"\n{FRAMING_MARK}{json.dumps(about.framing.to_dict())}"
    metadata = _tensor(INPUT, described, ([0.0], [255.0]))
    metadata.content = _content(schema.ContentProperties.ImageProperties, properties)
    metadata.processUnits = [_no_normalisation()]
    return metadata


def _no_normalisation() -> schema.ProcessUnitT:
    """(x - 0) / 1: without this, readers would take the range [-1, 1] for granted."""
    options = schema.NormalizationOptionsT()
    options.mean, options.std = [0.0], [1.0]
    unit = schema.ProcessUnitT()
    unit.optionsType, unit.options = schema.ProcessUnitOptions.NormalizationOptions, options
    return unit


def _answer(name: str) -> schema.TensorMetadataT:
    metadata = _tensor(name, *_ANSWERS[name])
    properties = schema.FeaturePropertiesT()
    metadata.content = _content(schema.ContentProperties.FeatureProperties, properties)
    return metadata


def _tensor(
    name: str, description: str, limits: tuple[list[float], list[float]]
) -> schema.TensorMetadataT:
    metadata = schema.TensorMetadataT()
    metadata.name, metadata.description = name, description
    metadata.stats = schema.StatsT()
    metadata.stats.min, metadata.stats.max = limits
    return metadata


def _content(kind: int, properties: Any) -> schema.ContentT:
    content = schema.ContentT()
    content.contentPropertiesType, content.contentProperties = kind, properties
    return content
