"""Random numbers of frameworks' own generators: distinct for all items, and the same whoever makes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import run_script

KERAS = """
import keras
import numpy as np
from tests.support import streams

IMAGES = np.full((1, 2, 2, 3), 100, np.float32)

def drawn(layer):
    return keras.ops.convert_to_numpy(layer(IMAGES, training=True))

class Layers:
    def __init__(self, seed):
        self.layers = [keras.layers.RandomBrightness(0.5, seed=seed), keras.layers.RandomContrast(0.5, seed=4)]
        self.model = keras.Sequential(
            [keras.layers.RandomBrightness(0.1, seed=seed), keras.Sequential([keras.layers.GaussianNoise(1.0, seed=3)])]
        )
    def __len__(self):
        return 9
    def __getitem__(self, i):
        return [drawn(layer) for layer in self.layers] + [drawn(self.model)]

class Bare:
    def __init__(self, seed):
        self.generator = keras.random.SeedGenerator(seed)
    def __len__(self):
        return 9
    def __getitem__(self, i):
        return [keras.ops.convert_to_numpy(keras.random.normal((3,), seed=self.generator)) for _ in range(1 + i % 3)]

class Hooked(Bare):
    def on_epoch_end(self):
        keras.random.normal((3,), seed=self.generator)

def check(source, again, *counts):
    before = {id(each): np.asarray(each.state).tolist() for each in generators(source)}
    want = streams(source, "serial", 2, seed=1)
    flat = [repr(batch) for epoch in want for batch in epoch]
    assert len(set(flat)) == len(flat) == 18, source
    if not hasattr(source, "on_epoch_end"):
        assert {id(each): np.asarray(each.state).tolist() for each in generators(source)} == before
    for workers in counts:
        assert streams(again(), "processes", 2, workers=workers) == want, (source, workers)

def generators(source):
    if hasattr(source, "generator"):
        return [source.generator]
    return [each for layer in source.model._flatten_layers() for each in layer._seed_generators]

if __name__ == "__main__":
    check(Layers(3), lambda: Layers(3), 1, 3)
    source = Layers(None)
    source[2]  # used before
    check(source, lambda: source, 2)
    check(Hooked(3), lambda: Hooked(3), 2)
    print("ok")
"""

TENSORFLOW = """
import tensorflow as tf
from tests.support import streams

tf.random.set_seed(1)  # which every worker runs

@tf.function
def augment(x):
    return tf.image.random_brightness(x, 0.5)

class Traced:
    def __init__(self):
        self.epoch = 0
    def __len__(self):
        return 12
    def __getitem__(self, i):
        return augment(tf.zeros((1, 2, 2, 3))).numpy(), tf.random.uniform((2,)).numpy()
    def on_epoch_end(self):
        self.epoch += 1  # a worker gets this source anew

class Unhooked(Traced):
    on_epoch_end = None

class Held:
    def __init__(self):
        self.generators = [tf.random.Generator.from_seed(3), tf.random.Generator.from_seed(4)]
    def __len__(self):
        return 9
    def __getitem__(self, i):
        return [each.uniform((2,)).numpy() for each in self.generators for _ in range(1 + i % 2)]

if __name__ == "__main__":
    for kind, executor in ((Traced, "processes"), (Unhooked, "processes"), (Unhooked, "serial")):
        made = [batch for epoch in streams(kind(), executor, 2, workers=2) for batch in epoch]
        for part in zip(*(batch[1] for batch in made), strict=True):
            assert len({repr(each) for each in part}) == 24, (kind, executor)
    source = Held()
    before = [each.state.numpy().tolist() for each in source.generators]
    want = streams(source, "serial", 2)
    assert [each.state.numpy().tolist() for each in source.generators] == before
    assert len({repr(batch) for epoch in want for batch in epoch}) == 18
    for workers in (1, 3):
        assert streams(Held(), "processes", 2, workers=workers) == want, workers
    print("ok")
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_keras(backend: str, tmp_path: Path) -> None:
    made = run_script(KERAS, tmp_path, check=False, KERAS_BACKEND=backend)
    assert made.stdout.endswith("ok\n"), made.stderr


def test_tensorflow(tmp_path: Path) -> None:
    made = run_script(TENSORFLOW, tmp_path, check=False)
    assert made.stdout.endswith("ok\n"), made.stderr
