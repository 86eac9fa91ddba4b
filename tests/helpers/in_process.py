"""Commands run in the process of the test."""

from absl import flags

from ssv_tf.base import command


def run_command(module, *words):
    """Exit code of a command's module, run in this process with flags of its own."""
    kept = set(flags.FLAGS)
    module.define_flags()
    try:
        command._guarded(module.main)(command._parse(["command", *map(str, words)]))
        return 0
    except SystemExit as end:
        return end.code
    finally:
        for name in set(flags.FLAGS) - kept:
            delattr(flags.FLAGS, name)
