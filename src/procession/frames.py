"""Data frames as sources: columns, by name, become arrays."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from procession.errors import SourceTypeError

Columns: TypeAlias = "str | list[str] | dict[str, str | list[str]]"
MOST_NAMED = 12  # columns in a message


def from_frame(
    frame: Any,
    inputs: Columns,
    targets: Columns | None = None,
    weights: str | None = None,
    *,
    dtype: npt.DTypeLike | None = None,
) -> tuple[Any, ...]:
    """Return columns of a pandas or polars frame, or a pyarrow table, as the arrays of a source.

    Give it to `Loader(..., batch_size=...)`, which makes batches (inputs, targets, weights) of it as `fit` takes them.

    Args:
        frame: anything with named columns, `frame["age"]`, that have `to_numpy()`.
        inputs: a column: an array of shape (rows,); a list of n columns: one of shape (rows, n); or a dict of these,
            for a model with named inputs.
        targets: as `inputs`; None: there are none.
        weights: the column of sample weights; None: there are none.
        dtype: of all numbers, "float32" for one; None: as the columns have it (of several columns, what numpy makes of
            them together). Columns of strings become arrays of numpy's fixed-width strings.

    Returns:
        (inputs,), (inputs, targets) or (inputs, targets, weights): copies, but for single columns that the frame gives
        away as they are.

    Raises:
        SourceTypeError: a column is not there, or holds missing values or objects; names it (a TypeError).

    Example:
        >>> import pandas, procession
        >>> frame = pandas.DataFrame({"age": [31, 45, 27], "height": [1.7, 1.8, 1.6], "ill": [0, 1, 0]})
        >>> source = procession.from_frame(frame, ["age", "height"], "ill", dtype="float32")
        >>> with procession.Loader(source, batch_size=2, workers=1) as loader:
        ...     [(x.shape, y.tolist()) for x, y in loader]
        [((2, 2), [0.0, 1.0]), ((1, 2), [0.0])]
    """
    wanted = [inputs, targets, weights]
    if targets is None and weights is not None:
        raise SourceTypeError(f"weights={weights!r} was given without targets: fit takes weights only behind targets")
    return tuple(_gathered(frame, columns, dtype) for columns in wanted if columns is not None)


def _gathered(frame: Any, columns: Columns, dtype: npt.DTypeLike | None) -> Any:
    if isinstance(columns, dict):
        return {name: _gathered(frame, inner, dtype) for name, inner in columns.items()}
    if isinstance(columns, str):
        return _column(frame, columns, dtype)
    if not columns:
        raise SourceTypeError("an empty list of columns was given: name at least one")
    return np.stack([_column(frame, name, dtype) for name in columns], axis=1)


def _column(frame: Any, name: str, dtype: npt.DTypeLike | None) -> Any:
    try:
        column = frame[name]
    except Exception as error:  # each library has its own for this
        names: Any = getattr(frame, "column_names", None)
        known = list(frame.columns if names is None else names)
        more = f", … ({len(known)} in all)" if len(known) > MOST_NAMED else ""
        named = ", ".join(map(repr, known[:MOST_NAMED]))
        raise SourceTypeError(f"the frame has no column {name!r}; it has {named}{more}") from error
    array = np.asarray(column.to_numpy())
    if array.dtype.kind == "O":
        array = _strings(array, name)
    elif array.dtype.kind == "T":  # numpy's variable-width strings, of which frameworks know nothing
        array = array.astype(str)
    return array if dtype is None or array.dtype.kind == "U" else array.astype(dtype, copy=False)


def _strings(array: Any, name: str) -> Any:
    """Objects as an array of strings, if that is what they are."""
    if all(isinstance(value, str) for value in array):
        return array.astype(str)
    other = next(value for value in array if not isinstance(value, str))
    row = next(row for row, value in enumerate(array) if value is other)
    raise SourceTypeError(
        f"column {name!r} of the frame holds {other!r} ({type(other).__name__}) in row {row}, so it is a column of "
        "objects. Fill missing values, and convert it to numbers or strings: frame[name] = frame[name].fillna(0) in "
        "pandas, frame.with_columns(pl.col(name).fill_null(0)) in polars"
    )
