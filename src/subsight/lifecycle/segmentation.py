"""The segmentation that answers: a run's fit record, checked whole before any of it is used.

A run keeps it as `models/segments.json`; a workspace without such a run may hold one that it adopted, with
its digest beside it. Everything is JSON; nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from subsight.errors import InputError, NotFoundError, StorageError, WorkspaceError
from subsight.lifecycle.following import Followed, of_file
from subsight.lifecycle.segment_records import RECORD_IS_WRONG, Input, check, inputs_of
from subsight.results import Results
from subsight.workspace import Workspace, write_atomically

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Labels = NDArray[np.int64]

__all__ = [
    "DIGEST",
    "RECORD",
    "Input",
    "Segmenter",
    "UnplacedError",
    "Watched",
    "adopt",
    "carry",
    "current",
    "of_bundle",
    "stamp",
    "subscriber",
]

NAME: Final = "segments"
RECORD: Final = "model.json"
DIGEST: Final = "digest.json"
"""A bundle's files: the record, and what it must be."""

_OF_A_RUN: Final = Path("models", "segments.json")
_ADOPTED: Final = Path("models", "segments.json")
_ADOPTED_DIGEST: Final = Path("models", "segments.digest.json")
# How far from a level, in parts of the gap between levels, a number still means it.
_NEAR_SHARE: Final = 0.25


class UnplacedError(InputError):
    """Values that have no segment; `field` names the input, `row` the row, the first being 1."""

    def __init__(self, what: str, field: str, row: int, *, found: str, expected: str) -> None:
        super().__init__(what, found=found, expected=expected)
        self.field, self.row = field, row


class Segmenter:
    """Segments of subscribers by one fit record; `version` names the run it is of."""

    name = NAME

    def __init__(self, record: Mapping[str, Any], version: str, content: bytes) -> None:
        self.record, self.version, self.content = record, version, content

    @classmethod
    def read(cls, content: bytes, version: str, source: str) -> Segmenter:
        """A record's file, checked whole.

        Raises:
            WorkspaceError: it is no JSON, of another model, or does not fit together.
        """
        try:
            record = json.loads(content.decode())
            check(record)
        except RECORD_IS_WRONG as error:
            raise WorkspaceError(
                f"{source} is no segmentation",
                found=str(error) if isinstance(error, ValueError) else type(error).__name__,
                expected="the fit record of the model segments, as a run writes it",
                do="publish the run again, or take the bundle from its source again",
            ) from error
        return cls(record, version, content)

    @property
    def number(self) -> str:
        """What counters call the version."""
        return self.version

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the record's file, in hex."""
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each segment."""
        return tuple(self.record["names"])

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        """What a subscriber is placed by, in order; an input that never varied is none."""
        return inputs_of(self.record)

    def one(self, row: Mapping[str, Any], *, standardised: bool) -> tuple[int, str]:
        """The segment of one subscriber who lacks no input, and its name.

        Raises:
            UnplacedError: as `many`; an input is unknown.
        """
        columns = {one.name: [row.get(one.name)] for one in self.inputs}
        label = int(self.many(columns, 1, standardised=standardised)[0])
        if label < 0:
            lacking = ", ".join(name for name, value in columns.items() if value[0] is None)
            raise UnplacedError(
                "a subscriber who lacks an input has no segment",
                lacking,
                1,
                found=f"nothing for {lacking or 'some'}",
                expected=", ".join(columns),
            )
        return label, self.names[label]

    def many(self, columns: Mapping[str, Sequence[Any]], rows: int, *, standardised: bool) -> Labels:
        """The segment of each row, -1 where an input is unknown (NaN or null); ties to the lower number.

        A number is raw or, where `standardised`, in z units. A text is a level's name; where `standardised`
        and its levels are numbers, it is a number in z units, turned back into its level.

        Raises:
            UnplacedError: a text is no level; values lie so far out that they have no distance.
        """
        import numpy as np

        from subsight.models.segments import placing

        z = self.matrix(columns, rows, standardised=standardised)
        known = ~np.isnan(z).any(axis=1)
        distances = self.squared_distances(z)
        if far := np.flatnonzero(known & ~np.isfinite(distances).all(axis=1)).tolist():
            raise UnplacedError(
                f"row {far[0] + 1} has no segment",
                self.inputs[0].name,
                far[0] + 1,
                found="a distance that is not finite",
                expected="values as the segmentation was fitted on",
            )
        labels: Labels = placing.labels_of(distances).astype(np.int64)
        return labels

    def matrix(self, columns: Mapping[str, Sequence[Any]], rows: int, *, standardised: bool) -> Floats:
        """Rows by features in z units, NaN where a value is unknown."""
        import numpy as np

        parts = []
        for one in self.inputs:
            mean, deviation = self._scale(one)
            values = columns[one.name]
            if one.is_number:
                raw = np.asarray(values, dtype=np.float64).reshape(rows, 1)
            else:
                raw = _indicators(one, self._levels(one, values, standardised))
            with np.errstate(over="ignore"):
                parts.append(raw if one.is_number and standardised else (raw - mean) / deviation)
        return np.hstack(parts)

    def squared_distances(self, z: Floats) -> Floats:
        """Rows by segments, in squared z units."""
        import numpy as np

        from subsight.models.segments import placing

        with np.errstate(over="ignore", invalid="ignore"):
            return placing.squared(z, self.record["parameters"]["centroids"])

    def _scale(self, one: Input) -> tuple[Floats, Floats]:
        import numpy as np

        places = [self.record["features"].index(name) for name in one.features]
        parameters = self.record["parameters"]
        return np.asarray(parameters["mean"])[places], np.asarray(parameters["deviation"])[places]

    def _levels(self, one: Input, values: Sequence[Any], standardised: bool) -> list[str | None]:
        """Each row's level, null where it is unknown."""
        if standardised and one.numeric:
            mean, deviation = one.numeric
            return one.nearest([value * deviation + mean for value in _numbers(values)], _NEAR_SHARE, _odd)
        known = set(one.levels)
        for row, value in enumerate(values, 1):
            if value is not None and value not in known and not one.is_open:
                raise _odd(one, row, repr(value)[:80])
        return list(values)


def _numbers(values: Sequence[Any]) -> list[float]:
    return [float("nan") if value is None else float(value) for value in values]


def _odd(one: Input, row: int, found: str) -> UnplacedError:
    return UnplacedError(
        f"the {one.name} of row {row} is not one that the segmentation knows",
        one.name,
        row,
        found=found,
        expected=f"one of {', '.join(one.levels)}",
    )


def _indicators(one: Input, levels: Sequence[str | None]) -> Floats:
    import numpy as np

    place = {level: column for column, level in enumerate(one.levels)}
    rows = np.array([-1 if level is None else place.get(level, -2) for level in levels], dtype=np.int64)
    columns: Floats = (rows[:, None] == np.arange(len(one.levels))).astype(np.float64)
    columns[rows == -1] = np.nan
    return columns


def current(workspace: Workspace) -> Segmenter | None:
    """The segmentation of the current run, else the adopted one, else None.

    Raises:
        WorkspaceError: it is broken, or not what was adopted.
    """
    file = workspace.path / "current" / _OF_A_RUN
    if (content := _content(file)) is not None:
        # The run's name: where the pointer moved in between, the stamp differs and it is read again.
        return Segmenter.read(content, file.parents[1].resolve().name, str(file))
    if (content := _content(workspace.path / _ADOPTED)) is not None:
        return _known(content, workspace.path / _ADOPTED_DIGEST, workspace.path / _ADOPTED)
    return None


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be read", found=str(error), do="check the disk") from error


def _known(content: bytes, digest: Path, source: Path) -> Segmenter:
    """The record of that content where it is what the digest says."""
    try:
        said = json.loads((_content(digest) or b"null").decode())
        version, expected = said["version"], said["digest"]
        if not isinstance(version, str) or not isinstance(expected, str):
            raise TypeError
    except RECORD_IS_WRONG:
        raise WorkspaceError(
            f"{digest} does not say what the segmentation must be",
            expected='{"version": ..., "digest": ...}',
            do="take the bundle from its source again",
        ) from None
    if (found := hashlib.sha256(content).hexdigest()) != expected:
        raise WorkspaceError(
            f"{source} is not what was bundled: it is refused",
            found=f"SHA-256 {found[:16]}…",
            expected=f"{expected[:16]}…",
            do="take the bundle from its source again",
        )
    return Segmenter.read(content, version, str(source))


def of_bundle(folder: Path) -> Segmenter | None:
    """The segmentation of a bundle: of a folder of its own, or of a workspace; None where it has none.

    Raises:
        WorkspaceError: it is broken, or not what was bundled.
    """
    if (content := _content(folder / RECORD)) is not None:
        return _known(content, folder / DIGEST, folder / RECORD)
    return current(Workspace(folder))


def carry(segmenter: Segmenter, target: Workspace) -> None:
    """Makes it the one that a workspace without a segmented run answers with.

    Raises:
        StorageError: the disk refuses.
    """
    said = json.dumps({"version": segmenter.version, "digest": segmenter.digest}, indent=1)
    try:
        (target.path / "models").mkdir(exist_ok=True)
        # The digest first: a record without one would be refused, a digest without a record is nothing.
        write_atomically(target.path / _ADOPTED_DIGEST, said)
        write_atomically(target.path / _ADOPTED, segmenter.content)
    except OSError as error:
        raise StorageError(
            f"{target.path} cannot be written", found=str(error), do="name another place, or free disk space"
        ) from error


def adopt(workspace: Workspace, bundle: Path) -> Segmenter | None:
    """Takes a bundle's segmentation; None where it has none.

    Raises:
        WorkspaceError: it is broken, or not what was bundled.
        StorageError: the disk refuses.
    """
    if segmenter := of_bundle(bundle):
        carry(segmenter, workspace)
    return segmenter


def stamp(workspace: Workspace) -> tuple[object, ...]:
    """What changes whenever another segmentation may be the current one."""
    try:
        run = str((workspace.path / "current").readlink())
    except OSError:
        run = ""
    files = (Path("current") / _OF_A_RUN, _ADOPTED, _ADOPTED_DIGEST)
    return run, *(of_file(workspace.path / file) for file in files)


class Watched(Followed[Segmenter]):
    """The segmentation of a running service: a new run's is taken up, a broken one never replaces it."""

    def __init__(self, workspace: Workspace, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__("segmentation", lambda: current(workspace), lambda: stamp(workspace), clock)


def subscriber(workspace: Workspace, identifier: str) -> dict[str, Any]:
    """One subscriber's row of the current run's table `segments`, with distances and what decided.

    `distances` are by segment, in z units; `deciding` has for each input its part in squared z units of
    what the runner-up is farther away, largest first. Both are null where `segment` is; `lacking` says why.

    Raises:
        NotFoundError: there is no run, it has no segments, or none for that subscriber.
        WorkspaceError: the run's segmentation is broken.
    """
    from subsight.models.segments import explain

    results = Results(workspace.run())
    file = results.folder / _OF_A_RUN
    content = _content(file)
    if NAME not in results.tables() or content is None:
        raise NotFoundError(
            f"the run {results.folder.name} has no segments",
            expected="a run that divides subscribers",
            do="publish one with: subsight segment WS",
        )
    segmenter = Segmenter.read(content, results.folder.name, str(file))
    row = results.subscriber(identifier, workspace.key(), only=NAME)
    placed = {"subscriber_id": row.pop("subscriber_id"), "segment": row.pop("segment")}
    for name in ("segment_name", "distance", "runner_up_name", "runner_up_distance", "lacking"):
        placed[name] = row.pop(name, None)
    row.pop("subscriber_hash", None)
    why = explain(segmenter.record, row) if placed["segment"] is not None else {}
    explained = {"distances": why.get("distances"), "deciding": why.get("parts")}
    return {**placed, **explained, "inputs": row, "model": NAME, "version": segmenter.version}
