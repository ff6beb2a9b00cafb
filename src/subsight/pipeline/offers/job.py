"""Recommendations for everybody, part by part in a folder of the workspace: what is done is done once.

    jobs/recommendations/  job.json           what it is of; another job's folder is begun anew
                           prepared/          the map with its offers, and for whom
                           parts/00000.parquet, outcomes of the same, and its counts

Whatever kills the job, the next one with the same inputs goes on behind the last part that is whole. The
folder goes when all of it is published.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import narwhals as nw

from subsight import answers as answers_format
from subsight import versions
from subsight.answers import Answer
from subsight.errors import InputError, NotFoundError, StorageError
from subsight.models.offers.recommender import Recommended, Recommender
from subsight.pipeline.offers.preparing import WATCHED, Prepared, area, prepare
from subsight.pipeline.offers.recommended import recommendations
from subsight.pipeline.publishing import Area, Context, earlier_run
from subsight.store import Frame
from subsight.workspace import sync_directory, write_atomically

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Job"]

_PART_SUBSCRIBERS: Final = 50_000
_PART_PAIRS: Final = 10_000_000
"""Subscribers times offers of a part at most: some 28 bytes each are held while they are chosen from."""
_HASHES: Final = 1 << 52
"""Hashes of subscribers lie below it: parts are ranges of them."""


@dataclass(frozen=True)
class _Part:
    """A range of hashes, and the files of what its subscribers get."""

    first: int
    last: int
    table: Path
    outcomes: Path
    counts: Path


class Job:
    """One job of a workspace, begun or gone on with."""

    def __init__(self, context: Context, at: datetime) -> None:
        self._context, self._at = context, at
        self._folder = context.workspace.path / "jobs" / "recommendations"

    def __enter__(self) -> Self:
        """Raises:
        NotFoundError: no map was trained yet.
        """
        known = self._folder / "job.json"
        if not known.exists() or json.loads(known.read_text(encoding="utf-8"))["digest"] != self._digest:
            self._remove()
            for name in ("prepared", "parts"):
                (self._folder / name).mkdir(parents=True)
            write_atomically(known, json.dumps({"digest": self._digest, **self._inputs}, indent=1))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is None:
            self._remove()

    def _remove(self) -> None:
        # What it is of goes first: half of a job, whose removal was interrupted, is no job to go on with.
        (self._folder / "job.json").unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    @cached_property
    def _digest(self) -> str:
        return hashlib.sha256(json.dumps(self._inputs, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _inputs(self) -> dict[str, Any]:
        """All that the recommendations follow from."""
        context = self._context
        run = self._trained
        batches = [batch for table in WATCHED for batch in context.workspace.batches(table)]
        offered = {n: v for n, v in context.settings.model_dump().items() if n.startswith("offer_")}
        file = Path(context.settings.offer_nodes_file)
        return {
            "run": run.manifest["run"],
            # When it was read tells which catalogue is the newest.
            "batches": sorted(f"{b.table}/{b.content}/{b.manifest['ingested_at']}" for b in batches),
            "settings": {
                **offered,
                "seed": context.settings.seed,
                "minimum_group": context.settings.minimum_group,
            },
            "nodes": hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None,
            "at": self._at.isoformat(),
            "engine": context.store.name,
            "code": versions.code(),
        }

    @cached_property
    def _trained(self) -> Any:
        workspace = self._context.workspace
        run = earlier_run(workspace)
        if run is None or "offers" not in run.models():
            raise NotFoundError(
                f"{workspace.path} has no map of offers",
                expected="one that was trained",
                do=f"subsight offers train {workspace.path}",
            )
        return run

    def done(self, on_part: Callable[[int, int], None] | None = None) -> list[Area]:
        """The areas to publish, once every part is there.

        Raises:
            InputError: no offer is valid, nor any default.
        """
        prepared = self._prepared()
        recommender, store = Recommender(prepared.record), self._context.store
        self._refuse_nothing(recommender)
        parts = self._parts(prepared.members, len(recommender.catalogue.offers))
        with self._context.clock.stage("recommend"):
            for number, part in enumerate(parts):
                if not part.counts.exists():
                    _make(self._context, prepared, recommender, part)
                if on_part:
                    on_part(number + 1, len(parts))
        table = store.read([part.table for part in parts])
        outcomes = store.read([part.outcomes for part in parts])
        counts = [json.loads(part.counts.read_text(encoding="utf-8")) for part in parts]
        made = recommendations(self._context, recommender, prepared, table, outcomes, counts)
        return [area(prepared), made]

    def _refuse_nothing(self, recommender: Recommender) -> None:
        states = recommender.catalogue.states(self._at)
        if "valid" in states or not set(recommender.policy.defaults) <= set(recommender.catalogue.offers):
            return
        raise InputError(
            f"no offer may be given to anybody on {self._at:%Y-%m-%d}",
            found=", ".join(f"{states.count(one)} {one}" for one in ("valid", "over", "yet to begin"))
            + f" of {len(states)} offers, and no default that may be given",
            expected="a valid offer, or defaults that are not of the catalogue",
            do="ingest the catalogue of today, set offer_defaults, or name another day with --as-of",
        )

    def _prepared(self) -> Prepared:
        """What was prepared, read back: a job that goes on has the same as one that begins."""
        context, folder = self._context, self._folder / "prepared"
        if not (folder / "record.json").exists():
            found = prepare(context, self._at, self._trained.models()["offers"])
            context.store.write(
                found.members, folder / "members.parquet", ["subscriber_hash", "subscriber_id"]
            )
            context.store.write(found.holdings, folder / "holdings.parquet", ["subscriber_hash", "offer_id"])
            write_atomically(folder / "answers.json", answers_format.dumps(found.answers))
            facts = {"quality": found.quality, "batches": [[b.table, b.content] for b in found.batches]}
            write_atomically(folder / "facts.json", json.dumps(facts))
            write_atomically(folder / "record.json", json.dumps(found.record))  # the last: now it is whole
            sync_directory(folder)
        told = {
            n: json.loads((folder / f"{n}.json").read_text("utf-8")) for n in ("record", "answers", "facts")
        }
        frames = {n: context.store.read([folder / f"{n}.parquet"]) for n in ("members", "holdings")}
        batches = [context.workspace.batch(table, content) for table, content in told["facts"]["batches"]]
        answers = [Answer.from_json(value) for value in told["answers"]]
        return Prepared(
            told["record"], frames["members"], frames["holdings"], answers, told["facts"]["quality"],
            [batch for batch in batches if batch],
        )  # fmt: skip

    def _parts(self, members: Frame, offers: int) -> list[_Part]:
        count = int(self._context.store.row(members.select(count=nw.len()))["count"])
        parts = max(1, -(-count // _PART_SUBSCRIBERS), -(-count * offers // _PART_PAIRS))
        ends = [_HASHES * n // parts for n in range(parts + 1)]
        folder = self._folder / "parts"
        return [
            _Part(
                ends[n], ends[n + 1], folder / f"{n:05}.parquet", folder / f"{n:05}.outcomes.parquet",
                folder / f"{n:05}.json",
            )
            for n in range(parts)
        ]  # fmt: skip


def _make(context: Context, prepared: Prepared, recommender: Recommender, part: _Part) -> None:
    """Recommends to the subscribers of a part; its counts are written last."""
    store = context.store
    within = (nw.col("subscriber_hash") >= part.first) & (nw.col("subscriber_hash") < part.last)
    members = store.arrow(prepared.members.filter(within).sort("subscriber_id"))
    held = store.arrow(prepared.holdings.filter(within))
    found = recommender.recommend(members, held)
    _write(found.table, part.table)
    _write(found.outcomes, part.outcomes)
    write_atomically(part.counts, json.dumps(_counts(found)))


def _counts(found: Recommended) -> dict[str, Any]:
    return {
        "removed": dict(found.removed),
        "left": dict(found.left),
        "unmeasured": found.unmeasured,
        "asked": found.outcomes.num_rows,
    }


def _write(table: pa.Table, path: Path) -> None:
    import pyarrow.parquet as pq

    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())  # as its counts, which say that it is there
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageError(
            f"{path} cannot be written",
            found=str(error),
            do="free disk space, then run again: what is done is kept",
        ) from error
