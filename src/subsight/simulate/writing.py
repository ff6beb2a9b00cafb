"""The files of a simulated operator: complete or not there."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from subsight.errors import StorageError
from subsight.simulate.operator import APPLICATIONS, FAULTS, FileFormat, Operator, Simulation
from subsight.simulate.population import SEGMENTS, Integers, Population, draw_population, tac_numbers
from subsight.simulate.sessions import CHUNK, draw_chunk, period_starts, schedule
from subsight.tables import THROUGHPUT_SHARES

__all__ = ["staged", "write"]

_RESPONSE_SHARE: Final = 0.25  # subscribers who answer the survey
_ONE_FAULT_IN: Final = 1_000
# A dictionary pays where values repeat; elsewhere Parquet builds one only to throw it away.
_REPEATING: Final = ("cell_id", "handset_manufacturer", "handset",
                     *(share for shares in THROUGHPUT_SHARES for share in shares))  # fmt: skip


def _fault_positions(operator: Operator, rng: np.random.Generator) -> dict[str, Integers]:
    """Sorted session numbers to spoil, by kind; no session twice."""
    each = max(1, operator.sessions // _ONE_FAULT_IN) if operator.faults else 0
    drawn = rng.choice(operator.sessions, len(FAULTS) * each, replace=False)
    return {kind: np.sort(drawn[i * each : (i + 1) * each]) for i, kind in enumerate(FAULTS)}


def _chunks(
    operator: Operator, population: Population, seeds: tuple[np.random.SeedSequence, ...]
) -> Generator[pa.Table, None, None]:
    """Tables of sessions in start order, drawn ahead by a few threads."""
    schedule_seed, faults_seed, sessions_seed = seeds
    keys = schedule(operator, population.session_count, np.random.default_rng(schedule_seed))
    faults = _fault_positions(operator, np.random.default_rng(faults_seed))
    starts = range(0, len(keys), CHUNK)
    chunk_seeds = sessions_seed.spawn(len(starts))

    def draw(number: int) -> pa.Table:
        low = starts[number]
        part = keys[low : low + CHUNK]
        here = {kind: at[(at >= low) & (at < low + CHUNK)] - low for kind, at in faults.items()}
        return draw_chunk(operator, population, part, low, here, np.random.default_rng(chunk_seeds[number]))

    workers = min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[pa.Table]] = deque()
        for number in range(len(starts)):
            waiting.append(pool.submit(draw, number))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _iso(instants: pa.Array) -> pa.Array:
    """ISO 8601 to the millisecond. The zone is dropped first: Arrow would look for a zone database."""
    return pc.strftime(instants.cast(pa.timestamp("ms")), format="%Y-%m-%dT%H:%M:%SZ")


def _as_csv(table: pa.Table) -> pa.Table:
    for name in ("start_at", "end_at"):
        table = table.set_column(table.column_names.index(name), name, _iso(table[name]))
    return table


def _write_sessions(
    path: Path, tables: Iterator[pa.Table], file_format: FileFormat, done: Callable[[int], None]
) -> int:
    """The number of rows written."""
    rows = 0
    writer: Any = None
    try:
        for table in tables:
            if file_format == "csv":
                table = _as_csv(table)
            if writer is None and file_format == "csv":
                options = arrow_csv.WriteOptions(quoting_style="none")
                writer = arrow_csv.CSVWriter(path, table.schema, write_options=options)
            elif writer is None:
                writer = pq.ParquetWriter(
                    path, table.schema, compression="zstd", use_dictionary=list(_REPEATING)
                )
            writer.write_table(table, table.num_rows)
            rows += table.num_rows
            done(rows)
    finally:
        if writer is not None:
            writer.close()
    return rows


def _write_truths(truth: Path, population: Population) -> None:
    people, cells, handsets = population, population.cells, population.handsets
    slugs = pa.array([app.slug for app in APPLICATIONS])
    subscribers = {
        "msisdn": people.msisdn,
        "segment": pa.array(SEGMENTS).take(pa.array(people.segment)),
        "favourite_application": slugs.take(pa.array(people.favourite)),
        "home_cell": cells.cell_id.take(pa.array(people.home_cell)),
        "handset": handsets.name.take(pa.array(people.handset)),
        "is_bad_cell": cells.is_bad[people.home_cell],
        "is_bad_handset": handsets.is_bad[people.handset],
        "experience": people.experience,
        "churned": people.churned,
        "churn_probability": people.churn_probability,
    }
    # A TAC has a million serial numbers: a large operator sees several of one model.
    variants = 1 + (len(people.msisdn) - 1) // 1_000_000
    model, variant = (grid.ravel() for grid in np.indices((len(handsets.is_bad), variants)))
    models = {
        "tac": pa.array([f"{number:08d}" for number in tac_numbers(model, variant)]),
        "handset_manufacturer": handsets.manufacturer.take(pa.array(model)),
        "handset": handsets.name.take(pa.array(model)),
        "is_bad": handsets.is_bad[model],
    }
    pq.write_table(pa.table(subscribers), truth / "subscribers.parquet")
    pq.write_table(pa.table({"cell_id": cells.cell_id, "is_bad": cells.is_bad}), truth / "cells.parquet")
    pq.write_table(pa.table(models), truth / "handsets.parquet")


def _write_feedback(path: Path, operator: Operator, population: Population, rng: np.random.Generator) -> None:
    """Answers from one day after the second period on, when the last session has ended."""
    noise = rng.standard_normal(operator.subscribers)
    feeling = 3.3 + 0.8 * operator.experience_effect * population.experience + 0.8 * noise
    after_s = rng.integers(0, 14 * 86_400, operator.subscribers)
    answered = np.flatnonzero(rng.random(operator.subscribers) < _RESPONSE_SHARE)
    answered = answered[np.argsort(after_s[answered], kind="stable")]
    opens_s = int((period_starts(operator)[2] + timedelta(days=1)).timestamp())
    answered_at = pa.array(opens_s + after_s[answered]).cast(pa.timestamp("s", "UTC"))
    table = pa.table({
        "subscriber_id": population.msisdn.take(pa.array(answered)),
        "answered_at": _iso(answered_at),
        "csat": np.clip(np.rint(feeling[answered]), 1, 5).astype(np.int64),
    })  # fmt: skip
    arrow_csv.write_csv(table, path, arrow_csv.WriteOptions(quoting_style="none"))


def _write_operator(path: Path, operator: Operator, sessions_file: str, rows: int) -> None:
    each = rows - operator.sessions  # there are as many duplicates as faults of any other kind
    content = {
        **asdict(operator),
        "starts_on": operator.starts_on.isoformat(),
        "sessions_file": sessions_file,
        "row_count": rows,
        "fault_counts": dict.fromkeys(FAULTS, each),
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """A folder beside the final files, which move into place together once all are complete."""
    stage: Path | None = None
    try:
        (output / "truth").mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".simulating-", dir=output))
        (stage / "truth").mkdir()
        yield stage
        for path in [path for path in stage.rglob("*") if path.is_file()]:
            path.replace(output / path.relative_to(stage))
    except OSError as error:
        raise StorageError(
            f"the simulated operator cannot be written to {output}", found=error.strerror or str(error),
            expected="a folder with room that may be written", do="choose another folder or free some space",
        ) from error  # fmt: skip
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)


def write(
    operator: Operator, output: Path, file_format: FileFormat, progress: Callable[[float], None] | None
) -> Simulation:
    """Draw the operator and write its files."""
    people_seed, feedback_seed, *session_seeds = np.random.SeedSequence(operator.seed).spawn(5)
    name = f"sessions.{file_format}"

    def done(rows: int) -> None:
        if progress is not None:
            progress(min(1.0, rows / operator.sessions))

    population = draw_population(operator, np.random.default_rng(people_seed))
    with staged(output) as stage:
        truth = stage / "truth"
        _write_truths(truth, population)
        _write_feedback(truth / "feedback.csv", operator, population, np.random.default_rng(feedback_seed))
        with closing(_chunks(operator, population, tuple(session_seeds))) as tables:
            rows = _write_sessions(stage / name, tables, file_format, done)
        _write_operator(truth / "operator.json", operator, name, rows)
    return Simulation(output / name, output / "truth")
