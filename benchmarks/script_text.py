"""The script of the work "script": trains on texts that plain Python counts words in, as people write it.

Told on the command line how many workers, and whether processes. Prints the seconds of its second epoch.
"""

import math
import random
import sys
import time
import zlib

import keras
import numpy as np

WORDS = [f"word{number}" for number in range(5000)]


class Texts(keras.utils.PyDataset):
    def __init__(self, texts, labels, size, **options):
        super().__init__(**options)
        self.texts, self.labels, self.size = texts, labels, size

    def __len__(self):
        return math.ceil(len(self.texts) / self.size)

    def __getitem__(self, index):
        rows = slice(index * self.size, (index + 1) * self.size)
        counts = np.zeros((len(self.labels[rows]), 512), "float32")
        for row, text in enumerate(self.texts[rows]):
            for word in text.split():
                counts[row, zlib.crc32(word.encode()) % 512] += 1.0
        return counts, self.labels[rows]


class Clock(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.begun = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds = time.perf_counter() - self.begun


if __name__ == "__main__":
    workers, processes = int(sys.argv[1]), sys.argv[2] == "processes"
    random.seed(1)
    texts = [" ".join(random.choices(WORDS, k=400)) for _ in range(6400)]
    labels = np.array([[len(text) % 2] for text in texts], "float32")
    data = Texts(texts, labels, 64, workers=workers, use_multiprocessing=processes)
    model = keras.Sequential([keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1, activation="sigmoid")])
    model.compile("adam", "binary_crossentropy")
    clock = Clock()
    model.fit(data, epochs=2, verbose=0, callbacks=[clock])
    print("seconds", clock.seconds)
