"""From a stream to what a framework reads: Keras, tf.data, torch, JAX."""
