"""Batches made inside the graph, after decoding: requests share V and nothing else."""

import dataclasses
import uuid
from collections.abc import Callable

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

Answers = Callable[[tf.Tensor], dict[str, tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class Batching:
    """How pictures of concurrent requests are put together.

    Attributes:
      sizes: batch sizes V is run at, rising; a batch is padded to the next of them.
      timeout_us: how long a picture waits for company, in microseconds. 0: not at all, so that
        batches form only while all `threads` are busy.
      threads: batches computed at a time.
      queued_batches: from so many waiting on, requests are refused with UNAVAILABLE.
      request_pictures: most pictures of one request; more are refused with INVALID_ARGUMENT.
    """

    sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    timeout_us: int = 0
    threads: int = 4
    queued_batches: int = 100
    request_pictures: int = 256


def in_batches(answers: Answers, resolution: int, batching: Batching | None = None) -> Answers:
    """`answers` over the pictures of all requests that come at about the same time.

    The model server's own batching (`--enable_batching`) joins whole requests, so one JPEG that
    cannot be decoded fails every request of its batch. Here each request is decoded and checked by
    itself; only pictures that are good reach the common batch.

    Args:
      answers: float32 [n, r, r, 3] -> outputs, each [n, ...], of every picture for itself.
      resolution: r.
      batching: the sizes and limits.

    Returns:
      the same function, its weights now constants, which the session folds into each other;
      pictures of another shape than [n, r, r, 3] fail their own request.
    """
    batching = batching or Batching()
    shape = (None, resolution, resolution, 3)
    names: list[str] = []

    @tf.function(autograph=False)
    def computed(picture):
        outputs = answers(picture)
        names[:] = sorted(outputs)
        return [outputs[name] for name in names]

    inner = convert_variables_to_constants_v2(
        computed.get_concrete_function(tf.TensorSpec(shape, tf.float32))
    )
    # Two models in one process must not share a queue.
    queue = uuid.uuid4().hex

    def batched(picture):
        # A server feeds what it was sent, whatever shape the signature declares.
        outputs = tf.raw_ops.BatchFunction(
            in_tensors=[tf.ensure_shape(picture, shape)],
            captured_tensors=inner.captured_inputs,
            f=inner,
            Tout=[output.dtype for output in inner.outputs],
            num_batch_threads=batching.threads,
            max_batch_size=batching.request_pictures,
            batch_timeout_micros=batching.timeout_us,
            max_enqueued_batches=batching.queued_batches,
            allowed_batch_sizes=list(batching.sizes),
            enable_large_batch_splitting=True,
            shared_name=queue,
            batching_queue=queue,
        )
        shaped = [tf.ensure_shape(o, i.shape) for o, i in zip(outputs, inner.outputs, strict=True)]
        return dict(zip(names, shaped, strict=True))

    return batched
