"""What exported models call their inputs and outputs, and the largest file they read."""

from ssv_tf.models.decoding import FURTHER

SIGNATURE = "serving_default"
INPUT = "picture"
OUTPUT = "viewpoint_deg"
# Of models that have them, [batch, 1]: the probability that the azimuth is right; how little a
# picture looks like those of the calibration, above 1: not like such an object.
CONFIDENCE, NOVELTY = FURTHER
OUTPUTS = (OUTPUT, *FURTHER)
# Of an encoded picture: a few bytes may claim to be one that fills the server's memory; 48 MP took
# 1.4 GB.
MAX_PIXELS = 50_000_000
