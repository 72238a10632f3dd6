"""How long to wait for a batch before somebody is looked at. Pure: the time is told."""

from __future__ import annotations

from collections.abc import Iterable

from procession.engine.ports import InHand

HELD_SECONDS = 0.02  # of waiting, after which it is looked who holds what is done; then twice as long
NOTICE_SECONDS = 30.0  # of waiting without a `timeout`, after which it is said what is waited for; then twice as long


class Patience:
    """One wait of the consumer at a time."""

    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout
        self._began = 0.0
        self._notice = NOTICE_SECONDS
        self._look = HELD_SECONDS
        self._ended: dict[int, float] = {}  # worker → since when it had in hand what it was called overdue for

    def begin(self, now: float) -> None:
        """The consumer begins to wait."""
        self._began = now
        self._notice = NOTICE_SECONDS
        self._look = HELD_SECONDS

    def seconds(self, hands: Iterable[InHand], now: float) -> float:
        """How long nothing may happen until `held_up`, `overdue` and `notice` are to be asked."""
        until = self._began + min(self._look, self._notice)
        if self._timeout is not None:
            # One that begins now is overdue at the earliest after the whole of it.
            until = min([until, now + self._timeout, *(hand.since + self._timeout for hand in self._watched(hands))])
        return max(0.0, until - now)

    def held_up(self, hands: Iterable[InHand], now: float) -> list[InHand]:
        """Who has been at one task for so long that what it did before it must not wait for that."""
        if now - self._began < self._look:
            return []
        self._look *= 2
        return [hand for hand in hands if now - hand.since >= HELD_SECONDS]

    def overdue(self, hands: Iterable[InHand], now: float) -> list[InHand]:
        """Who has taken longer over a batch than is allowed; each is told once."""
        if self._timeout is None:
            return []
        found = [hand for hand in self._watched(hands) if now - hand.since >= self._timeout]
        self._ended.update((hand.worker, hand.since) for hand in found)
        return found

    def notice(self, now: float) -> float | None:
        """For how long the consumer has waited, if it is time to say so."""
        waited = now - self._began
        if waited < self._notice:
            return None
        self._notice *= 2
        return waited

    def _watched(self, hands: Iterable[InHand]) -> list[InHand]:
        return [hand for hand in hands if self._ended.get(hand.worker) != hand.since]
