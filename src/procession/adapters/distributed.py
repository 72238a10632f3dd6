"""Which of several training processes this is, for `shard="auto"`: what the frameworks and the environment say.

Nothing is imported and nothing is started for the question: a framework that is not in use has nothing to say.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from procession.errors import ConfigError
from procession.order.sharding import WHOLE, Shard

KERAS = "keras.distribution"
ALONE = "one process"

# Index and count, as launchers set them: Keras's own, then torchrun's, which others set too.
PAIRS = (
    ("KERAS_DISTRIBUTION_PROCESS_ID", "KERAS_DISTRIBUTION_NUM_PROCESSES"),
    ("RANK", "WORLD_SIZE"),
)


class Claim(NamedTuple):
    """Which process this is, and who says so."""

    shard: Shard
    where: str


def chosen(shard: Any, seed: int | None) -> Shard:
    """The shard that a loader was asked for.

    Raises:
        ConfigError: it is none, or one of several that have no common seed.
    """
    if shard is None:
        return WHOLE
    found = detect()[0] if isinstance(shard, str) and shard == "auto" else shard
    if not isinstance(found, Shard):
        raise ConfigError(f"shard must be a procession.Shard(index, count), 'auto' or None; got {shard!r}")
    if found.count > 1 and seed is None:
        raise ConfigError(
            f"shard {found.index} of {found.count} needs a seed, the same in all of them: without one each process "
            "would draw its own, and items would be read twice or not at all. Write Loader(..., seed=0)"
        )
    return found


def detect() -> tuple[Shard, str]:
    """Find which of how many processes this is, and where that was read.

    Asked in this order: Keras's distribution, `jax.distributed`, `torch.distributed`, the current strategy of
    `tf.distribute`, then the variables KERAS_DISTRIBUTION_*, TF_CONFIG, and RANK with WORLD_SIZE. Several devices that
    one process drives are one shard; so are processes that hold parts of one replica of a model (Keras's
    `ModelParallel`), since they need the same items.

    Returns:
        The shard, and the name of what said so; `WHOLE` and "one process" where nothing does.

    Raises:
        ConfigError: two of them disagree, a variable cannot be read, or no part of the data belongs to one process.
    """
    live = [claim for look in (_keras, _jax, _torch, _tensorflow) if (claim := look()) is not None]
    shard, where = agreed([*live, *from_environment(os.environ, halves=bool(live))])
    return (by_replica(shard, _parts(shard)), where) if where == KERAS else (shard, where)


# --- what plain values say ---


def agreed(claims: Sequence[Claim]) -> Claim:
    """The first claim, which all others must agree with.

    Raises:
        ConfigError: two of them disagree.
    """
    if not claims:
        return Claim(WHOLE, ALONE)
    first = claims[0]
    for other in claims[1:]:
        if other.shard != first.shard:
            mine, theirs = (f"process {shard.index} of {shard.count}" for shard in (first.shard, other.shard))
            raise ConfigError(
                f"shard='auto' found two answers: {first.where} says that this is {mine}, {other.where} says {theirs} "
                "(counted from 0). Say which part of the data this process reads: shard=Shard(index, count), for the "
                f"first answer shard=Shard({first.shard.index}, {first.shard.count})"
            )
    return first


def from_environment(environment: Mapping[str, str], halves: bool = False) -> list[Claim]:
    """Read what launchers have put into the environment.

    Args:
        environment: the variables and their values.
        halves: whether one variable of a pair may be missing, as where the program gives the other to its framework
            itself; the pair then says nothing.

    Raises:
        ConfigError: a variable cannot be read.
    """
    claims = [_pair(environment, *names, halves) for names in PAIRS]
    claims.insert(1, _tf_config(environment.get("TF_CONFIG", "")))
    return [claim for claim in claims if claim is not None]


def of_cluster(cluster: Mapping[str, Any], job: str, index: int) -> Shard:
    """Read a cluster of `tf.distribute`: the chief is process 0 and the workers follow; no other job is a shard.

    Raises:
        ValueError: the cluster has no such task.
    """
    sizes = {name: _tasks(tasks) for name, tasks in cluster.items()}
    if job == "evaluator":  # it may be missing from the cluster, beside which it runs, and evaluates on all data
        return WHOLE
    if not 0 <= index < sizes.get(job, 0):
        raise ValueError(f"the cluster {sizes} has no task {index} of type {job!r}")
    if job == "ps":
        return WHOLE
    if job not in ("chief", "worker") or sizes.get("chief", 0) > 1:
        raise ValueError(f"training is done by one 'chief' and by 'worker' tasks; the cluster is {sizes}, this {job!r}")
    chiefs = sizes.get("chief", 0)
    return Shard(index if job == "chief" else chiefs + index, chiefs + sizes.get("worker", 0))


def by_replica(process: Shard, parts: int) -> Shard:
    """The part of the data for a process where a batch is cut into `parts`, one for each replica of the model.

    Processes next to one another hold a replica together, and read the same, as in Keras's own
    `Distribution.data_shard_id`.

    Raises:
        ConfigError: a replica is held by a process and a half.
    """
    if parts >= process.count:
        return process
    if process.count % parts:
        raise ConfigError(
            f"shard='auto': {process.count} processes hold {parts} replicas of the model, so that some hold parts of "
            "two. Make the batch axis of the DeviceMesh a divisor or a multiple of the number of processes, or give "
            "shard=Shard(index, count)"
        )
    return Shard(process.index // (process.count // parts), parts)


def _tasks(tasks: Any) -> int:
    if not isinstance(tasks, (list, tuple, dict)):
        raise ValueError(f"the tasks of a job must be a list of addresses, not {tasks!r}")
    return len(tasks)


def _tf_config(text: str) -> Claim | None:
    if not text.strip():
        return None
    try:
        config = json.loads(text)
        cluster, task = config.get("cluster"), config.get("task")
        if not cluster:  # TensorFlow, too, takes this for one process
            return None
        return Claim(of_cluster(cluster, task["type"], int(str(task["index"]))), "TF_CONFIG")
    except (ValueError, TypeError, KeyError, AttributeError) as why:
        raise ConfigError(
            f"TF_CONFIG={text!r} does not say which worker this is ({type(why).__name__}: {why}). It must be JSON like "
            '{"cluster": {"worker": ["host1:port", "host2:port"]}, "task": {"type": "worker", "index": 0}}; or give '
            "shard=Shard(index, count)"
        ) from why


def _pair(environment: Mapping[str, str], index: str, count: str, halves: bool) -> Claim | None:
    number, total = environment.get(index, ""), environment.get(count, "")
    if not (number or total) or (halves and not (number and total)):
        return None
    try:
        return Claim(Shard(int(number), int(total)), f"{index} and {count}")
    except ValueError as why:
        shown = [f"{name}={text!r}" if text else f"no {name}" for name, text in ((index, number), (count, total))]
        raise ConfigError(
            f"the environment has {' and '.join(shown)}, which does not say which process this is: {index} must be an "
            f"int from 0 to {count} - 1. Set or unset both, or give shard=Shard(index, count)"
        ) from why


# --- what the frameworks say, those that have been imported ---


def _distribution() -> Any:
    """Keras's current distribution, or None."""
    current = getattr(getattr(sys.modules.get("keras"), "distribution", None), "distribution", None)
    return None if current is None else current()


def _keras() -> Claim | None:
    """Where a distribution is set; `keras.distribution.initialize` alone is seen by JAX, which it initialises."""
    current = _distribution()
    count: Any = getattr(current, "num_processes", getattr(current, "_num_process", 1))  # the latter up to 3.10
    return None if count < 2 else Claim(Shard(current._process_id, count), KERAS)


def _parts(process: Shard) -> int:
    """Into how many parts Keras's distribution cuts a batch: as many as its mesh is long on the batch's axis."""
    current = _distribution()
    axis = getattr(current, "batch_dim_name", None) or getattr(current, "_batch_dim_name", None)  # as above
    names, shape = current.device_mesh.axis_names, current.device_mesh.shape
    return int(shape[names.index(axis)]) if axis in names else process.count


def _jax() -> Claim | None:
    state: Any = getattr(sys.modules.get("jax._src.distributed"), "global_state", None)
    known = getattr(sys.modules.get("jax.distributed"), "is_initialized", None)  # older JAX has none
    if not (known() if known else getattr(state, "client", None) is not None):
        return None
    if hasattr(state, "process_id") and hasattr(state, "num_processes"):
        return Claim(Shard(state.process_id, state.num_processes), "jax.distributed")
    # The public functions come last: they start XLA, whose settings are fixed from then on.
    jax = sys.modules["jax"]
    return Claim(Shard(jax.process_index(), jax.process_count()), "jax.distributed")


def _torch() -> Claim | None:
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return Claim(Shard(distributed.get_rank(), distributed.get_world_size()), "torch.distributed")


def _tensorflow() -> Claim | None:
    distribute = getattr(sys.modules.get("tensorflow"), "distribute", None)
    if distribute is None or not distribute.has_strategy():
        return None
    strategy = distribute.get_strategy()
    if not isinstance(strategy, distribute.MultiWorkerMirroredStrategy):  # others drive all devices from one process
        return None
    resolver = strategy.cluster_resolver
    cluster = resolver.cluster_spec().as_dict()
    return Claim(of_cluster(cluster, resolver.task_type, resolver.task_id), "tf.distribute") if cluster else None
