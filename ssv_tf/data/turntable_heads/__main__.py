"""Rendered heads as a folder of pictures: `python -m ssv_tf.data.turntable_heads OUT`."""

from ssv_tf.data.turntable_heads import write

if __name__ == "__main__":
    write.run()
