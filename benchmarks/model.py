"""What a benchmark is made of, as plain values; nothing here imports a contender."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

# Seconds or bytes by name, as one round of one contender saw them.
Sample = dict[str, float]
# Measures for about so many seconds.
Round = Callable[[float], Sample]

PROCESSION = "procession"


@dataclass(frozen=True)
class Contender:
    """One way of doing a work. `build` runs in the contender's own process, before its rounds."""

    name: str
    build: Callable[[], Round]
    needs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    quick: bool = True


@dataclass(frozen=True)
class Target:
    """What Procession should reach.

    With `against`, so many times as good as that contender; without, at most so much of the
    figure's own unit.
    """

    limit: float
    against: str | None = None

    def __str__(self) -> str:
        return f"≤ {self.limit:g}" if self.against is None else f"≥ {self.limit:.3g}x"


@dataclass(frozen=True)
class Figure:
    """A number each round yields: sample[key] * scale, in `unit`."""

    title: str
    key: str
    unit: str
    scale: float = 1.0
    more_is_better: bool = False
    targets: tuple[Target, ...] = ()


@dataclass(frozen=True)
class Work:
    """A job, who does it, and what is read off while they do."""

    name: str
    about: str
    contenders: tuple[Contender, ...]
    figures: tuple[Figure, ...]
    seconds: float = 1.0
    rounds: int = 5
    quick_rounds: int = 3
    quick: bool = True
