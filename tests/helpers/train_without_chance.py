"""The command train without dropout: two replicas would draw other masks than one.

python -m train_without_chance FLAGS
"""

import importlib

import pytest
import tiny

if __name__ == "__main__":
    tiny.without_chance(pytest.MonkeyPatch())
    importlib.import_module("ssv_tf.train").run()  # the command; the API has a function train
