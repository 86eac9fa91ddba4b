"""The command train without dropout: two replicas would draw other masks than one.

train_without_chance.py FLAGS
"""

import sys

import pytest
import tiny

if __name__ == "__main__":
    tiny.without_chance(pytest.MonkeyPatch())
    sys.modules["ssv_tf.train"].run()  # `ssv_tf.train` is the function of the API
