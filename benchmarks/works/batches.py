"""images and small: batches through two workers, with no training."""

from collections.abc import Callable

from benchmarks import peers
from benchmarks.model import PROCESSION, Contender, Figure, Target, Work
from benchmarks.sources import Images, Small, Source

BOUND = "serial, in process"


def everyone(source: Callable[[], Source], warm: int) -> tuple[Contender, ...]:
    """All who can iterate a source with two workers, and the bound."""
    return (
        peers.contender(PROCESSION, lambda: peers.procession(source()), warm),
        peers.contender("Keras processes", lambda: peers.keras(source()), warm),
        peers.contender("Keras threads", lambda: peers.keras(source(), processes=False), warm),
        peers.contender("torch DataLoader", lambda: peers.torch(source()), warm),
        peers.contender("Grain mp_prefetch", lambda: peers.grain(source()), warm),
        peers.contender("tf.data from_generator", lambda: peers.from_generator(source()), warm, quick=False),
        peers.contender(BOUND, lambda: peers.in_process(source()), warm),
    )


IMAGES = Work(
    name="images",
    about="64x224x224x3 bytes (9.6 MB), a copy of a prepared array, 2 workers",
    contenders=everyone(Images, warm=12),
    figures=(
        Figure(
            "images",
            key="seconds",
            unit="ms a batch",
            scale=1e3,
            targets=(
                Target(10, "torch DataLoader"),
                Target(12, "Grain mp_prefetch"),
                Target(25, "Keras processes"),
                Target(0.7, BOUND),
            ),
        ),
    ),
)
SMALL = Work(
    name="small",
    about="32x100 float64 and 32 int64 (26 kB), slices, 2 workers",
    contenders=everyone(Small, warm=200),
    figures=(
        Figure("small", key="seconds", unit="µs a batch", scale=1e6, targets=(Target(7, "Keras processes"),)),
        # Of the process that trains; what the workers use is theirs.
        Figure("small, consumer's CPU", key="cpu", unit="µs a batch", scale=1e6, targets=(Target(25),)),
    ),
)
WORKS = (IMAGES, SMALL)
