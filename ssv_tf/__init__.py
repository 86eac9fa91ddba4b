"""Self-supervised viewpoint learning (SSV, arXiv 2004.01793) for TensorFlow and Keras."""

__version__ = "0.1.0"
