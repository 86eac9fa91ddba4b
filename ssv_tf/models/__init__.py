"""The analysis and the synthesis network, their layers and perceptual features."""
