"""cpu and wait: what workers are for."""

from benchmarks import peers
from benchmarks.model import PROCESSION, Figure, Target, Work
from benchmarks.sources import Busy, Waiting

SERIAL = "serial, in process"

CPU = Work(
    name="cpu",
    about="20 ms of Python a batch, 2 workers",
    contenders=(
        peers.contender(PROCESSION, lambda: peers.procession(Busy()), warm=12),
        peers.contender("Keras processes", lambda: peers.keras(Busy()), warm=12, quick=False),
        peers.contender("torch DataLoader", lambda: peers.torch(Busy()), warm=12, quick=False),
        peers.contender(SERIAL, lambda: peers.in_process(Busy()), warm=2),
    ),
    figures=(Figure("cpu", key="seconds", unit="ms a batch", scale=1e3, targets=(Target(1.9, SERIAL),)),),
    seconds=2.0,
)
# The buffers may hold two batches for each worker: after those, all 32 are at work.
WAIT = Work(
    name="wait",
    about="50 ms of waiting a batch, 32 workers",
    contenders=(
        peers.contender(PROCESSION, lambda: peers.procession(Waiting(), workers=32), warm=96),
        peers.contender("Keras processes", lambda: peers.keras(Waiting(), workers=32), warm=96, quick=False),
        peers.contender("torch DataLoader", lambda: peers.torch(Waiting(), workers=32), warm=96, quick=False),
        peers.contender(SERIAL, lambda: peers.in_process(Waiting()), warm=1),
    ),
    figures=(Figure("wait", key="seconds", unit="ms a batch", scale=1e3, targets=(Target(28, SERIAL),)),),
    seconds=2.0,
)
WORKS = (CPU, WAIT)
