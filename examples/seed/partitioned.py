"""Data cut beforehand, a sequence for each part: meant to be read in parallel, each part in a process of its own.

Keras has no such thing. Under `procession run` the list is read as partitions: by turns, each by one worker.
"""

import numpy as np
import tensorflow as tf


class Table(tf.keras.utils.Sequence):
    def __init__(self, data, labels, batch_size):
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
    parts = 4
    pairs = zip(np.array_split(data, parts), np.array_split(labels, parts), strict=True)
    sequences = [Table(some, of_them, 32) for some, of_them in pairs]

    model = tf.keras.Sequential(
        [tf.keras.layers.Dense(16, activation="relu"), tf.keras.layers.Dense(1, activation="sigmoid")]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    model.fit(sequences, epochs=3, workers=1, use_multiprocessing=False, verbose=2)
