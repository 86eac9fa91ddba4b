"""The export stage: a calibrated viewpoint model for phones (TFLite) and servers (SavedModel)."""
