"""TensorFlow's functions: their graphs, which cannot be pickled, are traced anew where they are called."""

from __future__ import annotations

import importlib
from typing import Any

from procession.capture.handles.kinds import travels

# There already, where a source holds something of TensorFlow.
_module: Any = importlib.import_module("tensorflow.python.eager.polymorphic_function.polymorphic_function")


@travels(_module.Function)
def function(value: Any) -> Any:
    """As it was before it was first called: TensorFlow itself pickles that."""
    return value._clone(None).__reduce_ex__(5)
