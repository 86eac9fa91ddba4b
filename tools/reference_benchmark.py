"""Times V and S of the paper's size, 128 px, beside the paper's networks in PyTorch.

  pip install -e ".[reference]"      # PyTorch, which nothing else needs
  python -m tools.reference_benchmark --rounds=3

What is compared is called in turn, so that a busy moment of the machine hits all; a row's time is
the median of its calls, and its ratio is that to the first row of its table. The reference
(`tools.reference_networks`) is what section 3 of the paper describes, of plain PyTorch layers.

* V forward, one picture: both trunks (the paper's, and "strided", which trains by default), in
  Keras and in LiteRT files.
* V forward and backward, two pictures: the gradient of every weight.
* S forward, and forward and backward, two pictures: time over multiply-accumulates (MACs), as the
  networks differ in size.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from ssv_tf.base import cli
from ssv_tf.base.errors import FlagError, UserError

if TYPE_CHECKING:
    from ssv_tf.models.analysis import AnalysisNetwork
    from ssv_tf.models.synthesis import SynthesisNetwork

Calls = dict[str, Callable[[], Any]]
_RESOLUTION = 128
_KINDS = ("fp32", "dynamic", "int8")
_TRUNKS = ("paper", "strided")
_WARM_UP = 3
_CODE = 64
# Of the reference S: 13.9 GMAC, what the published program's network has.
_REFERENCE_WIDTH = 0.625
_PICTURES_FOR_RANGES = 16


def define_flags() -> None:
    """Registers the command's flags."""
    flags.DEFINE_integer("rounds", 3, "Rounds; each has ratios of its own.", lower_bound=1)
    flags.DEFINE_integer("repeats", 10, "Calls of each network in a round.", lower_bound=1)
    flags.DEFINE_integer(
        "threads", os.cpu_count() or 1, "Threads of PyTorch, TensorFlow and LiteRT.", lower_bound=1
    )


def main(argv: Sequence[str]) -> None:
    """Times all and prints a table of each comparison."""
    values = flags.FLAGS
    if len(argv) > 1:
        raise FlagError(f"reference_benchmark takes flags only, got {' '.join(argv[1:])}")
    _use_threads(values.threads)
    sizes, comparisons = _comparisons(values.threads)
    for title, make in comparisons.items():
        calls = make()
        rounds = [time_by_turns(calls, values.repeats) for _ in range(values.rounds)]
        print(table(title, rounds, sizes), flush=True)


def _use_threads(threads: int) -> None:
    """Must come before TensorFlow's first operation.

    Raises:
      UserError: PyTorch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise UserError("PyTorch is not installed: pip install torch") from None
    import tensorflow as tf

    torch.set_num_threads(threads)
    tf.config.threading.set_intra_op_parallelism_threads(threads)


def _comparisons(threads: int) -> tuple[dict[str, float], dict[str, Callable[[], Calls]]]:
    """GMAC of each network by name, and what makes the calls of each comparison."""
    import keras
    import torch

    from ssv_tf.models import flops
    from ssv_tf.models.analysis import AnalysisNetwork
    from ssv_tf.models.synthesis import SynthesisNetwork
    from tools import reference_networks

    torch.manual_seed(0)
    keras.utils.set_random_seed(0)
    analysis = {
        trunk: AnalysisNetwork(resolution=_RESOLUTION, width=1.0, style_size=2 * _CODE, trunk=trunk)
        for trunk in _TRUNKS
    }
    drawing = {
        name: SynthesisNetwork(
            resolution=_RESOLUTION, width=1.0, code_size=_CODE, projection=projection
        )
        for name, projection in (("Keras free", "free"), ("Keras composite", "composite"))
    }
    networks: list[Any] = [*analysis.values(), *drawing.values()]
    for network in networks:
        network.build()
    reference = reference_networks.ReferenceAnalysis().eval()
    pictures = torch.randn(2, 3, _RESOLUTION, _RESOLUTION)
    reference_drawing = reference_networks.ReferenceSynthesis(_REFERENCE_WIDTH).eval()
    codes = torch.randn(2, 2, 128)
    turns = torch.eye(3, 4).repeat(2, 1, 1)
    scene = (codes[0], codes[1], turns)
    of_synthesis = {name: sum(flops.synthesis_macs(network)) for name, network in drawing.items()}
    of_reference = reference_networks.macs(reference_drawing, *scene)

    def seeing() -> Calls:
        calls = {"PyTorch": _torch_forward(reference, pictures[:1])}
        for trunk, network in analysis.items():
            calls |= _analysis_calls(network, trunk, threads)
        return calls

    def learning() -> Calls:
        two = _numbers(2, _RESOLUTION, _RESOLUTION, 3)
        return {"PyTorch": _torch_gradient(reference, pictures)} | {
            f"Keras {trunk}": _keras_gradient(network, two) for trunk, network in analysis.items()
        }

    sizes = {
        "V": {
            "PyTorch": reference_networks.macs(reference, pictures),
            **{f"Keras {trunk}": flops.analysis_macs(v) for trunk, v in analysis.items()},
        },
        "S": {"PyTorch": of_reference, **of_synthesis},
    }
    for title, macs in sizes.items():
        print(f"{title}: " + ", ".join(f"{name} {n / 1e9:.1f} GMAC" for name, n in macs.items()))
    return {name: macs / 1e9 for name, macs in sizes["S"].items()}, {
        "V forward, 1 picture": seeing,
        "V forward and backward, 2 pictures": learning,
        "S forward, 2 pictures, time a MAC": lambda: {
            "PyTorch": _torch_forward(reference_drawing, *scene),
            **{name: _drawn(network) for name, network in drawing.items()},
        },
        "S forward and backward, 2 pictures, time a MAC": lambda: {
            "PyTorch": _torch_gradient(reference_drawing, *scene),
            **{name: _keras_gradient(network, *_scene()) for name, network in drawing.items()},
        },
    }


def time_by_turns(calls: Calls, repeats: int) -> dict[str, float]:
    """Median seconds of each call; one of each in turn, after some that warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(_WARM_UP + repeats):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if number >= _WARM_UP:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in seconds.items()}


def table(title: str, rounds: Sequence[Mapping[str, float]], sizes: Mapping[str, float]) -> str:
    """Milliseconds of each row (median of rounds) and the ratio to the first in every round.

    Args:
      title: of the table; where it ends with "time a MAC", ratios are of time over `sizes`.
      rounds: seconds by row.
      sizes: GMAC by row.
    """
    first, *_ = rounds[0]
    a_mac = title.endswith("time a MAC")
    lines = [title, f"{'':<24}{'ms':>9}   ratio, by round"]
    for name in rounds[0]:
        share = sizes[first] / sizes[name] if a_mac else 1.0
        ratios = [share * seconds[name] / seconds[first] for seconds in rounds]
        milliseconds = 1e3 * statistics.median(seconds[name] for seconds in rounds)
        shown = ", ".join(f"{ratio:.3f}" for ratio in ratios)
        lines.append(f"{name:<24}{milliseconds:>9.1f}   {shown}")
    return "\n".join(lines) + "\n"


def _numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _scene() -> tuple[np.ndarray, ...]:
    return _numbers(2, _CODE), _numbers(2, _CODE), _numbers(2, 3)


def _torch_forward(module: Any, *inputs: Any) -> Callable[[], Any]:
    import torch

    def call() -> Any:
        with torch.inference_mode():
            return module(*inputs)

    return call


def _torch_gradient(module: Any, *inputs: Any) -> Callable[[], Any]:
    def call() -> None:
        module.zero_grad(set_to_none=True)
        module(*inputs).square().sum().backward()

    return call


def _analysis_calls(analysis: "AnalysisNetwork", trunk: str, threads: int) -> Calls:
    """V's viewpoint of one picture, in Keras and in LiteRT files."""
    from ssv_tf.export import tflite
    from ssv_tf.export.fold import FoldedViewpoint
    from ssv_tf.models import inference

    function = inference.viewpoint_function(analysis)
    picture = _numbers(1, _RESOLUTION, _RESOLUTION, 3)
    calls: Calls = {
        f"Keras {trunk}": lambda: [answer.numpy() for answer in function(picture).values()]
    }
    folded = FoldedViewpoint(analysis)
    shown = np.random.default_rng(0).integers(
        0, 256, (_PICTURES_FOR_RANGES, _RESOLUTION, _RESOLUTION, 3), dtype=np.uint8
    )
    for kind in _KINDS:
        content = tflite.convert(folded, kind, shown)
        calls[f"LiteRT {kind} {trunk}"] = _litert(content, shown[:1], threads)
    return calls


def _litert(content: bytes, picture: np.ndarray, threads: int) -> Callable[[], Any]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    (given,), answer = interpreter.get_input_details(), interpreter.get_output_details()[0]

    def call() -> Any:
        interpreter.set_tensor(given["index"], picture)
        interpreter.invoke()
        return interpreter.get_tensor(answer["index"])

    return call


def _drawn(network: "SynthesisNetwork") -> Callable[[], Any]:
    import tensorflow as tf

    function = tf.function(lambda *scene: network(list(scene)), autograph=False)
    scene = [tf.constant(part) for part in _scene()]
    return lambda: function(*scene).numpy()


def _keras_gradient(network: Any, *inputs: np.ndarray) -> Callable[[], Any]:
    """The gradient of the sum of squared answers in every weight that they depend on."""
    import tensorflow as tf

    def gradients(*given: Any) -> Any:
        with tf.GradientTape() as tape:
            answers = network(given[0] if len(given) == 1 else list(given), training=True)
            loss = sum(tf.reduce_sum(tf.square(part)) for part in tf.nest.flatten(answers))
        found = tape.gradient(loss, [weight.value for weight in network.trainable_weights])
        return [part for part in found if part is not None]

    function = tf.function(gradients, autograph=False)
    constants = [tf.constant(part) for part in inputs]
    return lambda: [part.numpy() for part in function(*constants)]


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
