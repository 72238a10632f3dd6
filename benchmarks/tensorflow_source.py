"""A source that needs TensorFlow, as many do; a module of its own because it imports it."""

import tensorflow as tf

from benchmarks.sources import Whose

assert tf.__version__


class WhoseTensorFlow(Whose):
    """The process that made the batch, with TensorFlow in it."""
