"""What `np.load` gives for a file of several arrays (.npz): over its archive, which travels as any other."""

from __future__ import annotations

from typing import Any

from numpy.lib.npyio import NpzFile

from procession.capture.handles.kinds import travels


@travels(NpzFile, each=True)
def arrays(value: Any) -> Any:
    """All but `f`, which has the arrays as attributes and refers back to it."""
    state = {name: part for name, part in vars(value).items() if name != "f"}
    return over, (type(value), None if value.f is None else type(value.f), state)


def over(kind: Any, attributes: Any, state: dict[str, Any]) -> Any:
    """The same arrays, read from the archive in `state`; `attributes` is the type of `f`, None: it is closed."""
    made = kind.__new__(kind)
    vars(made).update(state)
    made.f = None if attributes is None else attributes(made)
    return made
