"""What the inputs and outputs of exported models are called; apps rely on it."""

SIGNATURE = "serving_default"
INPUT = "picture"
OUTPUT = "viewpoint_deg"
# Where the calibration has it: probability that the azimuth is right, [batch, 1].
CONFIDENCE = "confidence"
