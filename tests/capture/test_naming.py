"""Which frameworks a source's own code names."""

from __future__ import annotations

import functools
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from procession.capture.naming import MOST_OBJECTS, named
from procession.partitions import Parts
from procession.sources import Arrays
from tests.support import Made, run_script

TORCH, TENSORFLOW, NONE = frozenset({"torch"}), frozenset({"tensorflow"}), frozenset[str]()

# Modules as they look to code, without the seconds that the frameworks take to import.
tf: Any = ModuleType("tensorflow")
torch: Any = ModuleType("torch")
vision: Any = ModuleType("torchvision.transforms")
helpers: Any = ModuleType("helpers")
exec(  # a module of the user's that names TensorFlow in one function of two
    """
def noisy(x): return fw.random.normal(x)
def quiet(x): return x + 1
class Noisy:
    def run(self): return noisy(1)
""",
    vars(helpers),
)
helpers.fw = tf
package: Any = ModuleType("package")
package.helpers = helpers


def random_normal(shape: tuple[int, ...]) -> Any:
    return shape


random_normal.__module__ = "tensorflow.python.ops.random_ops"
INSTANCE = helpers.Noisy()


class Base:
    """A source whose attributes are what it is given."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)

    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int) -> Any:
        return i


class Plain(Base):
    torch_like = tensorflow = None

    def __getitem__(self, i: int) -> Any:
        return np.random.random(i), random.random(), self.torch_like, self.tensorflow


class Direct(Base):
    def __getitem__(self, i: int) -> Any:
        return tf.random.normal((i,))


class Inherits(Direct):
    def __len__(self) -> int:
        return 4


class Within(Base):
    def __getitem__(self, i: int) -> Any:
        return [[torch.rand(k) for k in range(n)] for n in range(i)]


class Lazy(Base):
    def __getitem__(self, i: int) -> Any:
        from tensorflow.random import normal

        return normal((i,))


class LazyLong(Base):
    def __getitem__(self, i: int) -> Any:
        import tensorflow.random as tf_random

        return tf_random.normal((i,))


class Companion(Base):
    def __getitem__(self, i: int) -> Any:
        return vision.crop(i)


class Helper(Base):
    def __getitem__(self, i: int) -> Any:
        return helpers.noisy(i)


class DeepHelper(Base):
    def __getitem__(self, i: int) -> Any:
        return package.helpers.noisy(i)


class QuietHelper(Base):
    def __getitem__(self, i: int) -> Any:
        return helpers.quiet(i)


class LazyHelper(Base):
    def __getitem__(self, i: int) -> Any:
        import procession_test_helpers  # type: ignore[import-not-found]

        return procession_test_helpers.noisy(i)


class ByName(Base):
    def __getitem__(self, i: int) -> Any:
        return random_normal((i,))


class ByInstance(Base):
    def __getitem__(self, i: int) -> Any:
        return INSTANCE.run()


class Described(Base):
    @functools.cached_property
    def cached(self) -> Any:
        return tf.zeros(3)


class Cached(Base):
    @staticmethod
    @functools.lru_cache
    def read(i: int) -> Any:
        return torch.zeros(i)


class Slotted:
    __slots__ = ("empty", "make")

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make

    def __getitem__(self, i: int) -> Any:
        return self.make(i)


class Listed(list):  # type: ignore[type-arg]
    pass


def draws(i: int, much: float = 1.0) -> Any:
    return torch.rand(i)


def with_default(i: int, draw: Any = draws) -> Any:
    return draw(i)


def closing(function: Any) -> Any:
    @functools.wraps(function)
    def call(i: int) -> Any:
        return function(i)

    return call


def recursive(i: int) -> Any:
    return mutual(i - 1)


def mutual(i: int) -> Any:
    return recursive(i), tf.ones(i)


class Circle(Base):
    pass


CIRCLE = Circle()
vars(CIRCLE).update(itself=CIRCLE, deep={"a": [CIRCLE, (CIRCLE, {"b": draws})]})


@pytest.mark.parametrize(
    ("source", "want"),
    [
        (Base(), NONE),
        (Plain(data=np.zeros(3), names=["tensorflow", "torch"], text="import torch"), NONE),
        (QuietHelper(), NONE),
        (None, NONE),
        ([1, "torch", None], NONE),
        (Direct(), TENSORFLOW),
        (Inherits(), TENSORFLOW),
        (Within(), TORCH),
        (Lazy(), TENSORFLOW),
        (LazyLong(), TENSORFLOW),
        (Companion(), TORCH),
        (Helper(), TENSORFLOW),
        (DeepHelper(), TENSORFLOW),
        (LazyHelper(), TENSORFLOW),
        (ByName(), TENSORFLOW),
        (ByInstance(), TENSORFLOW),
        (Described(), TENSORFLOW),
        (Cached(), TORCH),
        (Slotted(draws), TORCH),
        (Slotted(len), NONE),
        (Slotted(lambda i: i), NONE),
        (Slotted(functools.partial(draws, much=2)), TORCH),
        (Slotted(functools.partial(map, draws)), TORCH),
        (Slotted(Direct().__getitem__), TENSORFLOW),
        (Slotted(closing(draws)), TORCH),
        (Slotted(with_default), TORCH),
        (Slotted(recursive), TENSORFLOW),
        (Slotted(random_normal), TENSORFLOW),
        (Made(Slotted(draws).__getitem__, 3), TORCH),
        (Base(steps=[{"a": (draws,)}]), TORCH),
        (Base(inner=Base(inner=Direct())), TENSORFLOW),
        (Base(kind=Direct), TENSORFLOW),
        (Parts((Plain(), Direct())), TENSORFLOW),
        (Parts((Plain(), Arrays(np.zeros(3), 3))), NONE),
        (Listed([draws]), TORCH),
        ({"x": draws}, TORCH),
        (CIRCLE, TORCH),
        (Base(a=draws, b=Direct()), TORCH | TENSORFLOW),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_named(source: Any, want: frozenset[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "procession_test_helpers", helpers)
    assert named(source) == want


class Hostile:
    """Every way in which code of the user's could be run."""

    def __getattribute__(self, name: str) -> Any:
        raise SystemExit

    @property
    def value(self) -> Any:
        raise SystemExit

    def __iter__(self) -> Any:
        raise SystemExit

    def __eq__(self, other: object) -> bool:
        raise SystemExit

    def __hash__(self) -> int:
        raise SystemExit

    def __bool__(self) -> bool:
        raise SystemExit

    def __getitem__(self, i: int) -> Any:
        return draws(i)


Hostiler: Any = type("Hostiler", (Hostile,), {"__dict__": Hostile.value, "__class__": Hostile.value})


class HostileList(list):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        raise SystemExit

    def __len__(self) -> int:
        raise SystemExit


class HostileKind(type):
    def __getattribute__(cls, name: str) -> Any:
        raise SystemExit


class Misnamed(Base):
    pass


Misnamed.__module__ = 3  # type: ignore[assignment]


def test_no_code_of_the_users_is_run() -> None:
    class OfHostileKind(metaclass=HostileKind):  # not where pytest would look at it
        def __getitem__(self, i: int) -> Any:
            return draws(i)

    assert named(Hostile()) == TORCH
    assert named(Hostiler()) == TORCH
    assert named(OfHostileKind()) == TORCH
    assert named([Hostile(), HostileList([Hostile()]), Misnamed(), Misnamed]) == TORCH
    assert named(Base(data=HostileList([draws]))) == TORCH


def test_it_takes_no_time() -> None:
    deep: Any = None
    for _ in range(10 * MOST_OBJECTS):
        deep = [deep]
    wide = [[Base(x=[k]) for k in range(200)] for _ in range(200)]
    sources = (Plain(), Base(names=list(map(str, range(100_000)))), Base(deep=deep), Base(wide=wide))
    for source in sources:
        start = time.process_time()
        assert named(source) == NONE
        assert time.process_time() - start < 0.2
    while deep:  # by hand: to free it at once would go as deep
        (deep,) = deep


def test_to_use_keras_is_not_to_name_tensorflow(tmp_path: Path) -> None:
    script = """
import os
os.environ["KERAS_BACKEND"] = "tensorflow"
import keras
import numpy as np
from procession.capture.naming import named

class Layer(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.parts = [1, {"a": 2}]
    def call(self, x):
        return keras.random.normal(keras.ops.shape(x))

class Dataset(keras.utils.PyDataset):
    def __init__(self):
        super().__init__()
        self.x = np.zeros((3, 4))
        self.seeds = keras.random.SeedGenerator(1)
        self.layers = [keras.layers.RandomFlip(), Layer()]
        self.layer = Layer()
        self.model = keras.Sequential([keras.layers.RandomFlip(), Layer()])
    def __len__(self):
        return 3
    def __getitem__(self, i):
        return np.random.random(3), keras.random.normal((2,), seed=self.seeds), self.layer(self.x)

assert named(Dataset()) == frozenset(), named(Dataset())

import tensorflow as tf
class Other(Dataset):
    def __getitem__(self, i):
        return tf.random.normal((2,))
class Compiled(Dataset):
    @tf.function
    def draw(self):
        return 1
for source in (Other(), Compiled()):
    assert named(source) == {"tensorflow"}
"""
    run_script(script, tmp_path)
