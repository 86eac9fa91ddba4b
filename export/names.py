"""What the inputs and outputs of exported models are called; apps rely on it."""

SIGNATURE = "serving_default"
INPUT = "picture"
OUTPUT = "viewpoint_deg"
# Of distilled students only: how sure the answer is, 0 to 1.
CONFIDENCE = "confidence"
