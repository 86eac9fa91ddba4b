"""The command train without dropout: two replicas would draw other masks than one.

train_without_chance.py FLAGS
"""

import pytest
import tiny

from ssv_tf import train

if __name__ == "__main__":
    tiny.without_chance(pytest.MonkeyPatch())
    train.run()
