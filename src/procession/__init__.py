"""Procession: an orderly procession of batches, made by processes.

Any Keras `PyDataset` or other indexable source, read by worker processes in parallel, in order, each batch once:

    import procession
    model.fit(procession.Loader(train_sequence, workers=4), epochs=10)
"""

from procession.capture.counter import SharedCounter
from procession.capture.lock import Lock
from procession.capture.shared import share
from procession.capture.shared_dict import SharedDict
from procession.capture.travel import register
from procession.config import Faults
from procession.doctor import Diagnosis, diagnose
from procession.engine.item import WorkerInfo, worker_info
from procession.errors import (
    BatchError,
    CaptureError,
    ConfigError,
    EmptySourceError,
    EpochAbandonedError,
    IgnoredWarning,
    ImportedAgainError,
    LimitError,
    LoaderClosedError,
    ProcessionError,
    RestartsError,
    SkippedWarning,
    SourceExitError,
    SourceTypeError,
    StalledError,
    StateError,
    StateWarning,
    TemplateDiedError,
    WorkerDiedError,
)
from procession.frames import from_frame
from procession.launch import install, uninstall
from procession.loader import Loader
from procession.monitoring.stats import Statistics
from procession.order.randomness import rng
from procession.order.sampling import Balanced, Weighted
from procession.order.sharding import Shard
from procession.order.shuffle import Window
from procession.partitions import Partitions, partition

__version__ = "0.1.0"

__all__ = [
    "Balanced",
    "BatchError",
    "CaptureError",
    "ConfigError",
    "Diagnosis",
    "EmptySourceError",
    "EpochAbandonedError",
    "Faults",
    "IgnoredWarning",
    "ImportedAgainError",
    "LimitError",
    "Loader",
    "LoaderClosedError",
    "Lock",
    "Partitions",
    "ProcessionError",
    "RestartsError",
    "Shard",
    "SharedCounter",
    "SharedDict",
    "SkippedWarning",
    "SourceExitError",
    "SourceTypeError",
    "StalledError",
    "StateError",
    "StateWarning",
    "Statistics",
    "TemplateDiedError",
    "Weighted",
    "Window",
    "WorkerDiedError",
    "WorkerInfo",
    "diagnose",
    "from_frame",
    "install",
    "partition",
    "register",
    "rng",
    "share",
    "uninstall",
    "worker_info",
]
