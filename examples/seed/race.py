"""A pool of processes around a `fit` that asks for processes itself: the first thing people try.

Keras 3 refuses the keywords, and its workers would find no `super().__init__()`. Under `procession run` it trains.
"""

import multiprocessing as mp

import numpy as np
import tensorflow as tf


class Table(tf.keras.utils.Sequence):
    def __init__(self, data, labels, batch_size):  # super().__init__() is forgotten, as it often is
        self.data = data
        self.labels = labels
        self.batch_size = batch_size

    def __len__(self):
        return int(np.ceil(len(self.data) / float(self.batch_size)))

    def __getitem__(self, index):
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return self.data[rows], self.labels[rows]


if __name__ == "__main__":
    tf.keras.utils.set_random_seed(1)
    data = np.random.rand(1000, 100)
    labels = (data[:, 0] > 0.5).astype("int64")

    model = tf.keras.Sequential(
        [tf.keras.layers.Dense(16, activation="relu"), tf.keras.layers.Dense(1, activation="sigmoid")]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    with mp.Pool(processes=4) as pool:
        model.fit(Table(data, labels, 32), epochs=3, workers=4, use_multiprocessing=True, verbose=2)
        print("squares from the pool:", pool.map(abs, range(-3, 0)))
