"""A tf.data pipeline, which is parallel by its own means, with keywords that Keras 3 has removed.

Keras 3 refuses them. Under `procession run` they are accepted, with a note that they do nothing here.
"""

import numpy as np
import tensorflow as tf

if __name__ == "__main__":
    tf.keras.utils.set_random_seed(1)
    data = np.random.rand(1000, 100)
    labels = (data[:, 0] > 0.5).astype("int64")
    dataset = tf.data.Dataset.from_tensor_slices((data, labels))
    dataset = dataset.shuffle(buffer_size=1000).batch(32).prefetch(tf.data.AUTOTUNE)

    model = tf.keras.Sequential(
        [tf.keras.layers.Dense(16, activation="relu"), tf.keras.layers.Dense(1, activation="sigmoid")]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    model.fit(dataset, epochs=3, workers=tf.data.AUTOTUNE, use_multiprocessing=True, verbose=2)
