"""Aligned crops of faces: `python -m ssv_tf.data.align_faces IN OUT`."""
