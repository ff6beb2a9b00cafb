"""Feedback: what subscribers answered, and what the network had seen of each before the answer.

Answers come in files (`batches/feedback/`, see `ingestion`) and one by one over the API (a line each in
`feedback/<receiver>.jsonl`). Both are pseudonymous, and an answer that came twice counts once.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import narwhals as nw

from subsight.errors import NotFoundError, StorageError
from subsight.tables import FEEDBACK, SESSIONS
from subsight.workspace import Workspace, sync_directory

if TYPE_CHECKING:
    import pyarrow as pa

    from subsight.settings import Settings

__all__ = ["Inbox", "answers", "profiles_before"]

_FOLDER: Final = "feedback"
_COLUMNS: Final = tuple(column.name for column in FEEDBACK)


class Inbox:
    """Where one process keeps the answers that it is sent, each on disk when `put` returns. Thread-safe."""

    def __init__(self, workspace: Workspace) -> None:
        self._path = workspace.path / _FOLDER / f"{secrets.token_hex(8)}.jsonl"
        self._lock = threading.Lock()
        self._torn = False

    def put(self, answer: Mapping[str, Any]) -> None:
        """Keeps an answer by the columns of the `feedback` contract; `answered_at` with its offset.

        Raises:
            StorageError: the disk does not take it.
        """
        line = json.dumps({name: answer.get(name) for name in _COLUMNS}) + "\n"
        try:
            with self._lock:
                is_new = not self._path.exists()
                self._path.parent.mkdir(exist_ok=True)
                with self._path.open("a", encoding="utf-8") as file:
                    # What a full disk left of an answer that was refused must not run into the next one.
                    file.write(f"\n{line}" if self._torn else line)
                    self._torn = True
                    file.flush()
                    os.fsync(file.fileno())
                    self._torn = False
                if is_new:
                    sync_directory(self._path.parent)
        except OSError as error:
            raise StorageError(
                "the answer could not be kept", found=str(error), do="free disk space, then send it again"
            ) from error


def answers(workspace: Workspace) -> pa.Table:
    """All answers, oldest first, each once: `subscriber_id`, `answered_at` (UTC), `rating_share`,
    `prediction_id`.

    `rating_share` is the answer as a share of its scale: CSAT 1 to 5 and NPS 0 to 10 become 0 to 1.
    Of an answer with both, CSAT counts.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    schema = pa.schema([
        ("subscriber_id", pa.string()), ("answered_at", pa.timestamp("us", "UTC")),
        ("csat", pa.int64()), ("nps", pa.int64()), ("prediction_id", pa.string()),
    ])  # fmt: skip
    parts = [
        pq.read_table(batch.rows).select(_COLUMNS).cast(schema) for batch in workspace.batches("feedback")
    ]
    parts.append(pa.Table.from_pylist(list(_received(workspace)), schema))
    whole = pa.concat_tables(parts)
    # The same answer may come by file and over the API, with and without the prediction that it judges.
    keys = ["subscriber_id", "answered_at", "csat", "nps"]
    once = whole.group_by(keys, use_threads=False).aggregate([("prediction_id", "max")])
    csat = pc.divide(pc.subtract(once["csat"].cast(pa.float64()), 1.0), 4.0)
    nps = pc.divide(once["nps"].cast(pa.float64()), 10.0)
    table = pa.table({
        "subscriber_id": once["subscriber_id"], "answered_at": once["answered_at"],
        "rating_share": pc.coalesce(csat, nps), "prediction_id": once["prediction_id_max"],
    })  # fmt: skip
    return table.sort_by([("answered_at", "ascending"), ("subscriber_id", "ascending"),
                          ("rating_share", "ascending")])  # fmt: skip


def _received(workspace: Workspace) -> Iterator[dict[str, Any]]:
    for path in sorted((workspace.path / _FOLDER).glob("*.jsonl")):
        for line in path.read_bytes().split(b"\n"):
            # A line cut short by a kill or a full disk was never acknowledged.
            try:
                answer = json.loads(line)
            except ValueError:
                continue
            yield {**answer, "answered_at": datetime.fromisoformat(answer["answered_at"]).astimezone(UTC)}


def profiles_before(workspace: Workspace, settings: Settings) -> pa.Table:
    """One row an answer, oldest first: `answers`, and the metrics of the profile as it was before the answer.

    Only sessions that had ended by then count, treated as the current run treats its own. Answers of
    subscribers of whom nothing had been seen yet are left out.

    Raises:
        NotFoundError: there is no run or no answer yet.
    """
    import pyarrow as pa

    from subsight.contracts import Application
    from subsight.enrich import treatment
    from subsight.metrics import profile
    from subsight.results import Results
    from subsight.store import open_store

    given = answers(workspace)
    if not given.num_rows:
        raise NotFoundError(
            f"{workspace.path} has no survey answers",
            expected="answers from a file or over the API",
            do="subsight ingest feedback ANSWERS.csv --workspace WS",
        )
    manifest = Results(workspace.run()).manifest
    apps = tuple(Application(app["slug"], app["name"]) for app in manifest["applications"])
    contract = SESSIONS.expand(apps)
    numbers = pa.array([f"{number:012d}" for number in range(given.num_rows)])
    asked = pa.table({"subscriber_id": given["subscriber_id"], "answered_at": given["answered_at"],
                      "answer": numbers})  # fmt: skip
    with open_store(settings.engine, memory=settings.memory) as store:
        sessions = store.read([batch.rows for batch in workspace.batches("sessions")])
        ended = nw.coalesce(nw.col("end_at"), nw.col("start_at"))
        before = sessions.join(store.from_arrow(asked), on="subscriber_id", how="inner")
        before = before.filter(ended < nw.col("answered_at"))
        # An answer stands for its subscriber: whoever answered twice has two profiles.
        before = before.with_columns(subscriber_id=nw.col("answer")).drop("answer", "answered_at")
        treated = treatment.apply(before, contract, manifest["treatment"])
        seen = store.arrow(profile(store, store.keep(treated), contract).sort("subscriber_id"))
    at = [int(number) for number in seen["subscriber_id"].to_pylist()]
    columns = {
        name: seen[name] for name in seen.column_names if name not in ("subscriber_id", "subscriber_hash")
    }
    return pa.table({**{name: given[name].take(at) for name in given.column_names}, **columns})
