"""Weak references. What they lead to lives only as long as something else holds it, in a worker too."""

from __future__ import annotations

import weakref
from typing import Any

from procession.capture.culprit import Refusal
from procession.capture.handles.kinds import travels


@travels(weakref.WeakKeyDictionary, weakref.WeakValueDictionary)
def dictionary(value: Any) -> Any:
    """With the pairs that it has now: those of which the source holds the weak part are kept, as here."""
    return type(value), (), None, None, iter(list(value.items()))


@travels(weakref.WeakSet)
def weak_set(value: Any) -> Any:
    """With what it has now, likewise."""
    return type(value), (list(value),)


@travels(weakref.ref)
def reference(value: Any) -> Any:
    """What it leads to might have nobody else that holds it in the worker."""
    raise Refusal(
        value,
        "in a worker nothing might hold what it leads to, which would be gone at once, whereas the object itself "
        "travels, in a cycle too",
    )
