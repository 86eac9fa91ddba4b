"""What exported models call their inputs and outputs, and the largest file they read."""

SIGNATURE = "serving_default"
INPUT = "picture"
OUTPUT = "viewpoint_deg"
# Where the calibration has it: probability that the azimuth is right, [batch, 1].
CONFIDENCE = "confidence"
# Where network and calibration have it: above 1, a picture does not look like such an object,
# [batch, 1].
NOVELTY = "novelty"
FURTHER = (CONFIDENCE, NOVELTY)  # outputs of models that have them, as `decoding.FURTHER`
OUTPUTS = (OUTPUT, *FURTHER)
# Of an encoded picture: a few bytes may claim to be one that fills the server's memory; 48 MP took
# 1.4 GB.
MAX_PIXELS = 50_000_000
