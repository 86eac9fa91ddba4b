"""Quiet logs and a machine without accelerators, before anything imports TensorFlow."""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as in commands
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("MPLBACKEND", "Agg")
if "TF_XLA_FLAGS" not in os.environ:
    # What XLA has compiled once is read by every later test, worker and command: 13 of the
    # 17 seconds that a first training step takes.
    _CACHE = tempfile.mkdtemp(prefix="xla-")
    atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
    os.environ["TF_XLA_FLAGS"] = (
        f"--tf_xla_persistent_cache_directory={_CACHE} "
        "--tf_xla_persistent_cache_device_types=CPU,XLA_CPU_JIT"
    )

import matplotlib
import pytest

matplotlib.use("Agg")


_STATES = {}  # of the RANDOM of each test module, as it is when its first test begins


@pytest.fixture(autouse=True)
def _same_random_numbers(request):
    """What a test draws from Keras or its module's RANDOM is the same in any order of tests."""
    import keras

    keras.utils.set_random_seed(0)
    generator = getattr(request.module, "RANDOM", None)
    if generator is not None:
        first = _STATES.setdefault(request.module.__name__, generator.bit_generator.state)
        generator.bit_generator.state = first


@pytest.fixture(autouse=True)
def _no_flags_left_over():
    """Flags a command defined or parsed do not reach the next test."""
    from absl import flags

    kept = set(flags.FLAGS)
    yield
    for name in set(flags.FLAGS) - kept:
        delattr(flags.FLAGS, name)


@pytest.fixture(autouse=True)
def _the_same_on_any_processor(monkeypatch):
    """Trainings within a test compute in float32, whatever this machine's CPU can multiply."""
    from ssv_tf.training import precision

    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: False)


@pytest.fixture(autouse=True)
def _no_networks_kept(monkeypatch):
    """A first prediction leaves no LiteRT file behind: converting takes seconds."""
    from ssv_tf.export import quick

    monkeypatch.setattr(quick, "keep", lambda run: None)


# With whole files to a process, a long file that starts last keeps one core waiting for the other.
_LONG_FILES = (
    "training_test", "lasting_test", "jax_engine_test", "export_test", "api_test", "cluster_test",
    "end_learning_test", "student_run_test", "imagenet_student_test", "conformance_test",
    "web_page_test", "bad_commands_test", "self_training_test", "start_test", "evaluate_test",
    "preset_answers_test", "step_benchmark_test", "local_server_test", "one_answer_test",
    "batches_test", "supervised_test", "web_trouble_test", "ablate_test", "quickstart_test",
    "objective_test", "packaging_test",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    """Long files first."""
    places = {name: place for place, name in enumerate(_LONG_FILES)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture
def eager():
    """A few steps cost a fifth of what tracing and compiling them does."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
