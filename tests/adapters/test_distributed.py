"""Which process of how many this is: as the frameworks say it in real processes, and as the environment does."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from procession.adapters.distributed import Claim, agreed, by_replica, from_environment, of_cluster
from procession.errors import ConfigError
from procession.order.sharding import WHOLE, Shard
from tests.support import environment

# --- real processes, two that train together, on the loopback ---

SECONDS = 60
VARIABLES = ("KERAS_DISTRIBUTION_PROCESS_ID", "KERAS_DISTRIBUTION_NUM_PROCESSES", "TF_CONFIG", "RANK", "WORLD_SIZE")

# Each script says under names of its own what was found, and prints it as its last line.
HEAD = """
import json, os, sys
from procession.adapters.distributed import detect
from procession.errors import ConfigError

index, ports = int(sys.argv[1]), sys.argv[2:]
said = {}

def say(name, **variables):
    os.environ.update(variables)
    try:
        shard, where = detect()
        said[name] = [shard.index, shard.count, where]
    except ConfigError as error:
        said[name] = str(error)
    for variable in variables:
        del os.environ[variable]
"""
TAIL = """
print(json.dumps(said), flush=True)
"""

NOTHING = """
say("said")
said["imported"] = [name for name in ("keras", "tensorflow", "jax", "torch") if name in sys.modules]
"""

TORCH = """
import torch
import torch.distributed as distributed

say("before")
distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{ports[0]}", rank=index, world_size=2)
say("after")
say("same", RANK=str(index), WORLD_SIZE="2")
say("half", WORLD_SIZE="2")
say("other", RANK="3", WORLD_SIZE="4")
distributed.destroy_process_group()
say("ended")
"""

JAX = """
import jax
from jax._src.xla_bridge import backends_are_initialized

say("before")
address = f"127.0.0.1:{ports[0]}"
jax.distributed.initialize(address, 2, index, coordinator_bind_address=address)
say("after")
say("other", RANK="0", WORLD_SIZE="1")
known = jax.distributed.is_initialized
del jax.distributed.is_initialized  # as it is in older JAX
say("older")
said["started"] = backends_are_initialized()
jax.distributed.is_initialized = known
hidden = sys.modules.pop("jax._src.distributed")  # as it may be in JAX to come
say("newer")
sys.modules["jax._src.distributed"] = hidden
"""

KERAS = """
os.environ.update(KERAS_BACKEND="jax", JAX_COORDINATOR_BIND_ADDRESS=f"127.0.0.1:{ports[0]}")
import keras

say("before")
keras.distribution.initialize(f"127.0.0.1:{ports[0]}", 2, index)
say("after")
from keras.distribution import DataParallel, DeviceMesh, LayoutMap, ModelParallel, list_devices

devices = list_devices()
with DataParallel(devices=devices).scope():
    say("data")
    say("same", KERAS_DISTRIBUTION_PROCESS_ID=str(index), KERAS_DISTRIBUTION_NUM_PROCESSES="2")
    say("other", RANK="2", WORLD_SIZE="3")
for name, shape in (("split", (1, 2)), ("copied", (2, 1))):
    layout = LayoutMap(DeviceMesh(shape, ("batch", "model"), devices))
    with ModelParallel(layout_map=layout).scope():
        say(name)
"""

TENSORFLOW = """
cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
task = {"type": "worker", "index": index}
config = json.dumps({"cluster": cluster, "task": task})
import tensorflow as tf

say("before", TF_CONFIG=config)
tf.config.set_logical_device_configuration(  # refused once TensorFlow has been started
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()]
)
resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
    tf.train.ClusterSpec(cluster), task_type="worker", task_id=index, rpc_layer="grpc"
)
strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
with strategy.scope():
    say("after")
    say("same", TF_CONFIG=config)
    say("other", TF_CONFIG=json.dumps({"cluster": {"chief": ["a:1"], **cluster}, "task": task}))
"""

TENSORFLOW_ALONE = """
import tensorflow as tf

halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
with tf.distribute.MultiWorkerMirroredStrategy().scope():
    say("no others")
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    say("two devices")
"""


def free_ports(count: int) -> list[str]:
    """Return ports of the loopback that nobody listens on just now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [str(each.getsockname()[1]) for each in sockets]


def together(text: str, folder: Path, count: int = 2, **variables: str) -> list[dict[str, Any]]:
    """Run a script in `count` processes at once; return what each of them said."""
    script = folder / "script.py"
    script.write_text(HEAD + text + TAIL)
    variables = {"TF_CPP_MIN_LOG_LEVEL": "3", **variables}
    surroundings = {name: value for name, value in environment().items() if name not in VARIABLES} | variables
    ports = free_ports(2)
    outputs = [folder / f"{index}.txt" for index in range(count)]
    with ExitStack() as stack:
        processes = []
        for index, output in enumerate(outputs):
            command = [sys.executable, str(script), str(index), *ports]
            writing = stack.enter_context(output.open("w"))
            made = subprocess.Popen(command, cwd=folder, env=surroundings, stdout=writing, stderr=subprocess.STDOUT)
            stack.callback(made.wait)
            stack.callback(made.kill)  # before it is waited for
            processes.append(made)
        end = time.monotonic() + SECONDS
        statuses = [process.wait(timeout=max(1, end - time.monotonic())) for process in processes]
    texts = [output.read_text() for output in outputs]
    assert statuses == [0] * count, "\n".join(texts)
    return [json.loads(next(line for line in reversed(text.splitlines()) if line.startswith("{"))) for text in texts]


def shown(shard: Shard, where: str) -> list[Any]:
    return [shard.index, shard.count, where]


ALONE = shown(WHOLE, "one process")


def test_nothing_says_more_than_one_process_and_nothing_is_imported(tmp_path: Path) -> None:
    assert together(NOTHING, tmp_path, count=1) == [{"said": ALONE, "imported": []}]


def test_a_launcher_says_it_in_the_environment(tmp_path: Path) -> None:
    (said,) = together(NOTHING, tmp_path, count=1, RANK="2", WORLD_SIZE="3")
    assert said == {"said": [2, 3, "RANK and WORLD_SIZE"], "imported": []}


def test_torch_distributed(tmp_path: Path) -> None:
    for index, said in enumerate(together(TORCH, tmp_path)):
        found = shown(Shard(index, 2), "torch.distributed")
        other = said.pop("other")
        assert said == {"before": ALONE, "after": found, "same": found, "half": found, "ended": ALONE}
        assert f"torch.distributed says that this is process {index} of 2" in other
        assert "RANK and WORLD_SIZE says process 3 of 4" in other


def test_jax_distributed(tmp_path: Path) -> None:
    for index, said in enumerate(together(JAX, tmp_path)):
        found = shown(Shard(index, 2), "jax.distributed")
        other = said.pop("other")
        assert said == {"before": ALONE, "after": found, "older": found, "started": False, "newer": found}
        assert f"jax.distributed says that this is process {index} of 2" in other
        assert "RANK and WORLD_SIZE says process 0 of 1" in other


def test_keras_distribution(tmp_path: Path) -> None:
    for index, said in enumerate(together(KERAS, tmp_path)):
        found = shown(Shard(index, 2), "keras.distribution")
        other = said.pop("other")
        assert said == {
            "before": ALONE,
            "after": shown(Shard(index, 2), "jax.distributed"),
            "data": found,
            "same": found,
            "split": shown(WHOLE, "keras.distribution"),  # both hold one replica of the model between them
            "copied": found,
        }
        assert f"keras.distribution says that this is process {index} of 2" in other


def test_tf_distribute(tmp_path: Path) -> None:
    for index, said in enumerate(together(TENSORFLOW, tmp_path)):
        found = shown(Shard(index, 2), "tf.distribute")
        other = said.pop("other")
        assert said == {
            "before": shown(Shard(index, 2), "TF_CONFIG"),
            "after": found,
            "same": found,
        }
        assert f"tf.distribute says that this is process {index} of 2" in other
        assert f"TF_CONFIG says process {index + 1} of 3" in other


def test_several_devices_of_one_process_are_one_shard(tmp_path: Path) -> None:
    assert together(TENSORFLOW_ALONE, tmp_path, count=1) == [{"no others": ALONE, "two devices": ALONE}]


# --- plain values ---

CLUSTER = {"chief": ["a:1"], "worker": ["b:1", "c:1", "d:1"], "ps": ["e:1", "f:1"], "evaluator": ["g:1"]}


@pytest.mark.parametrize(
    ("job", "index", "expected"),
    [
        ("chief", 0, Shard(0, 4)),
        ("worker", 0, Shard(1, 4)),
        ("worker", 2, Shard(3, 4)),
        ("ps", 1, WHOLE),
        ("evaluator", 0, WHOLE),
    ],
)
def test_tasks_of_a_cluster(job: str, index: int, expected: Shard) -> None:
    assert of_cluster(CLUSTER, job, index) == expected
    text = json.dumps({"cluster": CLUSTER, "task": {"type": job, "index": index}, "environment": "cloud"})
    assert from_environment({"TF_CONFIG": text}) == [Claim(expected, "TF_CONFIG")]


def test_other_forms_of_a_cluster() -> None:
    workers = {"worker": CLUSTER["worker"]}
    assert of_cluster(workers, "worker", 0) == Shard(0, 3)
    assert of_cluster({"worker": {0: "a:1", 1: "b:1"}}, "worker", 1) == Shard(1, 2)
    assert of_cluster(workers, "evaluator", 0) == WHOLE
    text = json.dumps({"cluster": workers, "task": {"type": "worker", "index": "2"}})  # TensorFlow reads it, too
    assert from_environment({"TF_CONFIG": text}) == [Claim(Shard(2, 3), "TF_CONFIG")]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"TF_CONFIG": ""},
        {"TF_CONFIG": "{}"},
        {"TF_CONFIG": '{"cluster": {}, "task": {"type": "worker", "index": 0}}'},
        {"RANK": "", "WORLD_SIZE": ""},
        {"LOCAL_RANK": "1"},
    ],
)
def test_an_environment_that_says_nothing(environment: dict[str, str]) -> None:
    assert from_environment(environment) == []


def test_an_environment_that_says_it_thrice() -> None:
    cluster = {"worker": ["a:1", "b:1"]}
    claims = from_environment(
        {
            "WORLD_SIZE": "2",
            "RANK": "1",
            "TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 1}}),
            "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
            "KERAS_DISTRIBUTION_PROCESS_ID": "1",
        }
    )
    keras = "KERAS_DISTRIBUTION_PROCESS_ID and KERAS_DISTRIBUTION_NUM_PROCESSES"
    assert [claim.where for claim in claims] == [keras, "TF_CONFIG", "RANK and WORLD_SIZE"]
    assert agreed(claims) == Claim(Shard(1, 2), keras)


@pytest.mark.parametrize(
    "text",
    [
        "worker 0",
        "[]",
        "3",
        '{"cluster": ["a:1"], "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker"}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": -1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0.5}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}',
        '{"cluster": {"master": ["a:1"]}, "task": {"type": "master", "index": 0}}',
        '{"cluster": {"chief": ["a:1", "b:1"]}, "task": {"type": "chief", "index": 0}}',
    ],
)
def test_a_tf_config_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match="does not say which worker this is") as caught:
        from_environment({"TF_CONFIG": text})
    assert f"TF_CONFIG={text!r}" in str(caught.value)
    assert "shard=Shard(index, count)" in str(caught.value)


@pytest.mark.parametrize(
    ("rank", "size", "shown"),
    [
        ("one", "2", "RANK='one' and WORLD_SIZE='2'"),
        ("0", "2.0", "RANK='0' and WORLD_SIZE='2.0'"),
        ("2", "2", "RANK='2' and WORLD_SIZE='2'"),
        ("-1", "2", "RANK='-1' and WORLD_SIZE='2'"),
        ("0", "0", "RANK='0' and WORLD_SIZE='0'"),
        ("1", "", "RANK='1' and no WORLD_SIZE"),
        ("", "2", "no RANK and WORLD_SIZE='2'"),
    ],
)
def test_a_rank_that_cannot_be_read(rank: str, size: str, shown: str) -> None:
    with pytest.raises(ConfigError, match="does not say which process this is") as caught:
        from_environment({"RANK": rank, "WORLD_SIZE": size})
    assert shown in str(caught.value)


def test_half_a_pair_says_nothing_where_the_program_gives_the_other() -> None:
    assert from_environment({"WORLD_SIZE": "2"}, halves=True) == []
    with pytest.raises(ConfigError, match="RANK='x'"):
        from_environment({"RANK": "x", "WORLD_SIZE": "2"}, halves=True)


def test_claims_that_agree_and_that_do_not() -> None:
    first, second = Claim(Shard(1, 4), "jax.distributed"), Claim(Shard(1, 4), "TF_CONFIG")
    assert agreed([]) == Claim(WHOLE, "one process")
    assert agreed([first, second]) is first
    with pytest.raises(ConfigError) as caught:
        agreed([first, second, Claim(Shard(0, 4), "RANK and WORLD_SIZE")])
    message = str(caught.value)
    assert "jax.distributed says that this is process 1 of 4, RANK and WORLD_SIZE says process 0 of 4" in message
    assert "shard=Shard(1, 4)" in message


@pytest.mark.parametrize(
    ("count", "parts", "indices"),
    [
        (4, 1, [0, 0, 0, 0]),
        (4, 2, [0, 0, 1, 1]),
        (4, 4, [0, 1, 2, 3]),
        (4, 8, [0, 1, 2, 3]),
        (6, 3, [0, 0, 1, 1, 2, 2]),
    ],
)
def test_processes_that_hold_a_replica_together_read_the_same(count: int, parts: int, indices: list[int]) -> None:
    expected = [Shard(index, min(count, parts)) for index in indices]
    assert [by_replica(Shard(index, count), parts) for index in range(count)] == expected


def test_a_process_that_holds_parts_of_two_replicas() -> None:
    with pytest.raises(ConfigError, match="3 processes hold 2 replicas"):
        by_replica(Shard(0, 3), 2)
