"""Procession beside its peers: one run, every contender in a process of its own, in turns.

``python -m benchmarks --help`` says how to run it. A *work* (`works/`) is a job that several
*contenders* do; a *figure* is a number seen while they do it; a *target* is what Procession should
reach. `runner` starts the contenders and lets them take turns, `child` is one contender's process,
`report` judges and prints.
"""
