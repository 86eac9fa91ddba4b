"""Renders a share of a collection of heads in a process of its own, as the cars' worker does."""

from ssv_tf.data.turntable_cars.worker import serve
from ssv_tf.data.turntable_heads.render import render_picture

if __name__ == "__main__":
    serve(render_picture)
