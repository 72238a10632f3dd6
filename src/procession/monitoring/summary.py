"""What a run of a script tells at its end."""

from __future__ import annotations

from collections.abc import Iterable

from procession.monitoring.stats import Statistics, counted

Key = tuple[int, str, str, int, int]


def summary(read: Iterable[tuple[int, str, Statistics]]) -> str:
    """A line for each dataset that was read by workers, all its calls together, and what went wrong."""
    by_dataset: dict[Key, list[Statistics]] = {}
    for dataset, name, figures in read:
        by_dataset.setdefault((dataset, name, figures.executor, figures.workers, figures.seed), []).append(figures)
    if not by_dataset:
        return (
            "procession: no plain PyDataset or Sequence was read by workers in fit, evaluate or predict (arrays, "
            "tf.data.Datasets and generators are read by Keras itself; Loaders tell by loader.statistics())"
        )
    return "\n".join(_line(key, parts) for key, parts in by_dataset.items())


def _line(key: Key, parts: list[Statistics]) -> str:
    _, name, executor, workers, seed = key
    batches, nbytes = sum(one.batches for one in parts), sum(one.bytes for one in parts)
    waited = sum(one.wait_seconds for one in parts)
    epochs = counted(sum(one.epochs for one in parts), "epoch")
    what = f"{counted(batches, 'batch', 'batches')} ({nbytes / 1e6:,.0f} MB) in {epochs}"
    told = [
        f"procession: {name}: {what} by {counted(workers, 'worker')} ({executor})",
        f"{waited:.1f} s waited for them",
        f"seed {seed}",
    ]
    if deaths := sum(one.deaths for one in parts):
        told.append(f"{counted(deaths, 'process', 'processes')} died and replaced")
    if skips := sum(one.skips for one in parts):
        told.append(f"{counted(skips, 'item')} left out")
    if reasons := sorted({reason for one in parts for reason in one.pickled}):
        told.append(f"pickled, which is slow: {', '.join(reasons[:3])}")
    return "; ".join(told)
