"""Several machines that train one run together: who this process is, and how they agree.

TF_CONFIG tells each process the addresses of all and its own role, as TensorFlow, Vertex AI and
Kubeflow write it. The first (the chief, or worker 0) keeps the run folder; the others write aside,
below RUN/workers. TensorFlow is imported only where there is a cluster.
"""

import dataclasses
import json
import os
import signal
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.base.types import Tensor

_STOPS = (signal.SIGTERM, signal.SIGINT)  # the first is the stronger


@dataclasses.dataclass(frozen=True)
class Role:
    """This process among all that train the run.

    Attributes:
      index: 0 for the chief.
      count: how many there are.
    """

    index: int = 0
    count: int = 1

    @property
    def is_chief(self) -> bool:
        return self.index == 0


def current_role(text: str | None = None) -> Role:
    """The role that TF_CONFIG gives this process; alone where it is empty.

    Raises:
      SettingError: TF_CONFIG is no JSON, lists no workers, or has a task that is none of them.
    """
    text = os.environ.get("TF_CONFIG", "") if text is None else text
    if not text.strip():
        return Role()
    try:
        given = json.loads(text)
        cluster, task = given.get("cluster", {}), given.get("task", {})
        kind, index = task.get("type", "worker"), int(task.get("index", 0))
        workers = {name: list(cluster.get(name, [])) for name in ("chief", "worker")}
    except (ValueError, TypeError, AttributeError) as error:
        raise SettingError(f"TF_CONFIG is no JSON of a cluster and a task: {error}") from error
    if not workers["chief"] and not workers["worker"]:
        if cluster:
            raise SettingError(
                f"TF_CONFIG lists {', '.join(cluster)}; training needs chief or worker"
            )
        return Role()
    if index not in range(len(workers.get(kind, ()))):
        raise SettingError(
            f"TF_CONFIG: task {kind} {index} is none of {len(workers['chief'])} chief and "
            f"{len(workers['worker'])} workers"
        )
    if len(workers["chief"]) > 1:
        raise SettingError(f"TF_CONFIG lists {len(workers['chief'])} chiefs; there is one")
    before = len(workers["chief"]) if kind == "worker" else 0
    return Role(before + index, sum(map(len, workers.values())))


class Alone:
    """One process: agrees with itself. The interface of `Together`."""

    role = Role()

    def agreed_stop(self, number: int) -> int:
        """The signal on which all stop after this step, 0 for none."""
        return number

    def share(self, values: dict) -> dict:
        """The chief's values, NumPy arrays by name; the others' are looked at for shapes only."""
        return values

    def check_same(self, *texts: str) -> None:
        """Raises SettingError where a worker has another text than the chief."""

    def wait(self) -> None:
        """Returns when all have called it."""


class Together:
    """All workers of a MultiWorkerMirroredStrategy; every method is called by all of them.

    Args:
      strategy: the strategy.
      role: this process's Role.
    """

    def __init__(self, strategy: Any, role: Role) -> None:
        import tensorflow as tf

        self.role, self._tf, self._strategy = role, tf, strategy
        self._sum = tf.function(self._summed, autograph=False, reduce_retracing=True)

    def agreed_stop(self, number: int) -> int:
        votes = self._total(np.array([number == stop for stop in _STOPS], np.int32))
        return next((int(s) for s, n in zip(_STOPS, votes, strict=True) if n), 0)

    def share(self, values: dict) -> dict:
        parts = [np.asarray(value) for value in values.values()]
        content = b"".join(part.tobytes() for part in parts)
        words = np.frombuffer(content + bytes(-len(content) % 4), np.int32)
        # As integers: a sum of floats would turn -0 into 0.
        total = self._total(words if self.role.is_chief else np.zeros_like(words)).tobytes()
        shared, start = {}, 0
        for name, part in zip(values, parts, strict=True):
            chief_value = np.frombuffer(total[start : start + part.nbytes], part.dtype)
            shared[name] = chief_value.reshape(part.shape)
            start += part.nbytes
        return shared

    def check_same(self, *texts: str) -> None:
        checksums = np.array([zlib.crc32(text.encode()) & 0x7FFFFFFF for text in texts], np.int32)
        chief_checksums = self.share({"texts": checksums})["texts"]
        differ = int(self._total(np.array([np.any(checksums != chief_checksums)], np.int32))[0])
        if differ:
            which = (
                "this worker"
                if np.any(checksums != chief_checksums)
                else f"{differ} of the workers"
            )
            raise SettingError(
                f"{which} has other settings or pictures than the chief: start all with the same "
                "flags and data"
            )

    def wait(self) -> None:
        self._total(np.zeros(1, np.int32))

    def _total(self, words: np.ndarray) -> np.ndarray:
        return self._sum(self._tf.convert_to_tensor(words)).numpy()

    def _summed(self, words: Tensor) -> Tensor:
        tf, strategy = self._tf, self._strategy
        local = strategy.num_replicas_in_sync // self.role.count

        def mine() -> Tensor:  # one of a worker's devices speaks for it
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            return words * tf.cast(replica % local == 0, words.dtype)

        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(mine), axis=None)


def peers(trainer: Any) -> "Alone | Together":
    """Who trains together with this process: `Together`, or `Alone`."""
    role = current_role()
    return Alone() if role.count == 1 else Together(trainer.strategy, role)


def is_lost_worker(error: BaseException) -> bool:
    """Whether an error of TensorFlow's means that another worker is gone."""
    if current_role().count == 1:
        return False
    from tensorflow import errors

    local_errors = errors.ResourceExhaustedError, errors.InvalidArgumentError
    return isinstance(error, errors.OpError) and not isinstance(error, local_errors)


def lost_worker(error: BaseException, checkpoint: Path | None) -> UserError:
    """What to tell when another worker is gone.

    Args:
      error: TensorFlow's.
      checkpoint: path of the newest checkpoint, or None.
    """
    reason = " ".join(str(getattr(error, "message", "") or error).split())[:160]
    remains = f"{checkpoint} remains" if checkpoint else "what the chief has saved remains"
    return UserError(
        f"a worker of the cluster is gone ({type(error).__name__}: {reason}); {remains}. Start "
        "all workers again with the same command to go on"
    )
