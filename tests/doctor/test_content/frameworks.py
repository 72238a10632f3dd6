"""Ordinary sources that use frameworks."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf


def images() -> Any:
    return np.random.default_rng(0).random((64, 8, 8, 3), np.float32)


class Augments(keras.utils.PyDataset):
    """As in Keras's own examples: augments with TensorFlow and a Keras layer, and shuffles an index."""

    def __init__(self) -> None:
        super().__init__()
        self.x, self.order = images(), np.arange(64)
        self.flip = keras.layers.RandomFlip("horizontal", seed=3)
        self.on_epoch_end()

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> Any:
        rows = self.order[8 * i : 8 * i + 8]
        bright = tf.image.random_brightness(self.x[rows], 0.2)
        return np.asarray(self.flip(bright, training=True)), rows

    def on_epoch_end(self) -> None:
        np.random.shuffle(self.order)


class Traced(keras.utils.PyDataset):
    def __init__(self) -> None:
        super().__init__()
        self.x = images()
        self.augment = tf.function(lambda x: tf.image.random_brightness(x, 0.5))

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> Any:
        return self.augment(self.x[8 * i : 8 * i + 8]).numpy()


def flow() -> Any:
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    return ImageDataGenerator(horizontal_flip=True).flow(images(), np.arange(64), batch_size=8)
