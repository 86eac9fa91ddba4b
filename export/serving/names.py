"""Names that a client and the exported model share; imports nothing."""

DEFAULT_MODEL = "viewpoint"
JPEG_SIGNATURE = "serving_jpeg"
JPEG_INPUT = "jpeg_bytes"
OUTPUT = "viewpoint_deg"
FURTHER = ("confidence", "novelty")  # outputs of models that have them
