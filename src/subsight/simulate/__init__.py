"""A synthetic operator of any size with known truths, for the demo, tests and benchmarks.

Everything follows from the knobs and the seed, whatever the number of cores. The draws do not depend on
the quality effects: operators that differ in `handset_effect` alone differ in what it planted alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from subsight.simulate.operator import APPLICATIONS, FAULTS, FileFormat, Operator, Simulation, checked

__all__ = ["APPLICATIONS", "FAULTS", "Operator", "Simulation", "simulate"]


def simulate(
    operator: Operator,
    output: Path,
    *,
    file_format: FileFormat = "parquet",
    progress: Callable[[float], None] | None = None,
) -> Simulation:
    """Sessions in start order and the truths behind them, in the folder `output`.

    Files appear when all of them are complete and replace those of an earlier simulation.
    `progress` is given the share that is done, from 0 to 1. Memory: 12 bytes a session and about
    200 a subscriber, beside a few chunks of 250,000 sessions.

    Raises:
        ConfigurationError: a knob is out of range.
        StorageError: the folder cannot be written.
    """
    checked(operator, file_format)
    # NumPy and Arrow wait until there is something to simulate.
    from subsight.simulate.writing import write

    return write(operator, output, file_format, progress)
