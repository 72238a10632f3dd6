"""What becomes of an item that failed: the user's `Faults`, applied. Pure but for the user's own function.

raised:  on_error decides                              raise ─► the consumer gets the exception
killed its worker, or took too long:                   skip  ─► the item is left out, counted and told
   made again, `retries` times; then on_error decides  retry ─► it is made again, `retries` times; then raise
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from procession.config import ANSWERS, Answer, Faults
from procession.errors import ConfigError, RestartsError


class Verdict(NamedTuple):
    """What to do about an item, and the exception that it is about."""

    answer: Answer
    item: int
    error: BaseException


class Judge:
    """Remembers how often each item of each task has failed in this epoch."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._failures: Counter[tuple[int, int]] = Counter()  # by (ticket, item)

    def begin(self) -> None:
        """A new epoch: nothing has failed yet."""
        self._failures.clear()

    def on_exception(self, ticket: int, item: int, error: BaseException) -> Verdict:
        """The source raised `error`."""
        self._failures[ticket, item] += 1
        if not isinstance(error, Exception):  # Ctrl-C, or what the source made of it
            return Verdict("raise", item, error)
        verdict = self._decided(item, error)
        tried = self._failures[ticket, item] > self._faults.retries
        return verdict._replace(answer="raise") if verdict.answer == "retry" and tried else verdict

    def on_death(self, ticket: int, item: int, describe: Callable[[], BaseException]) -> Verdict:
        """The item's worker ended over it. Once may be bad luck; time and again it is the item."""
        self._failures[ticket, item] += 1
        error = describe()
        if self._failures[ticket, item] <= self._faults.retries:
            return Verdict("retry", item, error)
        verdict = self._decided(item, error)
        return verdict._replace(answer="raise") if verdict.answer == "retry" else verdict

    def _decided(self, item: int, error: BaseException) -> Verdict:
        on_error = self._faults.on_error
        if isinstance(on_error, str):
            return Verdict(on_error, item, error)
        try:
            answer: Any = on_error(item, error)
        except Exception as own:  # it has raised what the consumer shall get
            return Verdict("raise", item, own)
        if answer in ANSWERS:
            return Verdict(answer, item, error)
        wrong = ConfigError(
            f"on_error({item}, {type(error).__name__}) returned {answer!r}; it must return one of "
            f"{', '.join(map(repr, ANSWERS))}"
        )
        wrong.__cause__ = error
        return Verdict("raise", item, wrong)


def exhausted(error: BaseException, deaths: int, bound: int) -> RestartsError:
    """The error for more deaths in an epoch than may be, of which `error` was the last."""
    final = RestartsError(
        f"{error} That was death number {deaths} of this epoch, and Faults(max_restarts={bound}) allows {bound} "
        "replacements: find out what they die of, or allow more"
    )
    final.__cause__ = error
    return final
