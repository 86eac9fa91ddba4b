"""Names that a client and the exported model share; imports names alone."""

from ssv_tf.export.names import FURTHER, OUTPUT

DEFAULT_MODEL = "viewpoint"
JPEG_SIGNATURE = "serving_jpeg"
JPEG_INPUT = "jpeg_bytes"

__all__ = ["DEFAULT_MODEL", "FURTHER", "JPEG_INPUT", "JPEG_SIGNATURE", "OUTPUT"]
